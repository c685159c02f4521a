"""TPM2_CertifyX509 (Part 3, 18.8): the same octets as swtpm, and certificates others accept."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, RESTRICTED, SIGN, X509_SIGN, words
from tests.tpm.harness import HASH_NAMES, Password, Result, Tester, sized
from tests.tpm.known_keys import (
    ATTRIBUTES,
    H1,
    H2,
    P1,
    P2,
    P3,
    Pair,
    ecc_areas,
    ecc_key,
    hmac_areas,
    rsa_areas,
    rsa_key,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC

RSASSA, RSAPSS = words(ALG.RSASSA, ALG.SHA256), words(ALG.RSAPSS, ALG.SHA256)
ECDSA, ECSCHNORR = words(ALG.ECDSA, ALG.SHA256), words(ALG.ECSCHNORR, ALG.SHA256)
SIGNER, SUBJECT = rsa_areas(SIGN | X509_SIGN), ecc_areas(SIGN)


def der(tag: int, *contents: bytes) -> bytes:
    """One DER element."""
    body = b"".join(contents)
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes(2 if len(body) > 0xFF else 1)
    return bytes((tag, 0x80 | len(size))) + size + body


def sequence(*contents: bytes) -> bytes:
    """SEQUENCE."""
    return der(0x30, *contents)


NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vm")]).public_bytes()
VALIDITY = sequence(der(0x17, b"250101000000Z"), der(0x17, b"350101000000Z"))
KEY_USAGE, TPMA_OBJECT = bytes.fromhex("0603551d0f"), bytes.fromhex("06076781050a010101")
ALGORITHM = sequence(bytes.fromhex("06022a03"))


def extension(oid: bytes, bits: bytes, unused: int = 0) -> bytes:
    """A critical extension that is a bit string."""
    return sequence(oid, der(1, b"\xff"), der(4, der(3, bytes((unused,)), bits)))


DIGITAL_SIGNATURE = extension(KEY_USAGE, b"\x80", 7)


def partial(*extensions: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A partialCertificate."""
    return sequence(before, NAME, VALIDITY, NAME, der(0xA3, sequence(*extensions)), after)


def params(certificate: bytes, scheme: bytes = RSASSA, reserved: bytes = b"") -> bytes:
    """Parameters of TPM2_CertifyX509."""
    return sized(reserved) + scheme + sized(certificate)


@pytest.mark.parametrize("scheme", [RSASSA, words(ALG.RSASSA, ALG.SHA1), RSAPSS])
@pytest.mark.parametrize("subject", [SUBJECT, rsa_areas(SIGN)], ids=["ecc", "rsa"])
def test_swtpm_adds_the_same_octets(
    pair: Pair, subject: tuple[bytes, bytes], scheme: bytes
) -> None:
    """Serial numbers are digests of the rest, so these are compared as well."""
    signer, handle = pair.load(SIGNER), pair.load(subject)
    for number in range(8):
        certificate = partial(DIGITAL_SIGNATURE).replace(b"vm", b"v%d" % number)
        ours, theirs = pair.run(CC.CERTIFY_X509, (handle, signer), params(certificate, scheme), 2)
        assert ours.rc == 0
        assert (ours.sized(), ours.sized(1)) == (theirs.sized(), theirs.sized(1))
        if scheme != RSAPSS:
            assert ours.parameters == theirs.parameters


def test_the_callers_algorithm_is_used(pair: Pair) -> None:
    handles = (pair.load(SUBJECT), pair.load(SIGNER))
    certificate = partial(DIGITAL_SIGNATURE, before=ALGORITHM)
    answer = pair.same(CC.CERTIFY_X509, handles, params(certificate), 2)
    assert ALGORITHM not in answer.sized()
    mac = pair.load(hmac_areas(SIGN | DECRYPT))
    handles = (handles[0], mac)
    scheme = words(ALG.HMAC, ALG.SHA256)
    pair.same(CC.CERTIFY_X509, handles, params(certificate, scheme), 2)


def certificate_of(tester: Tester, signer: int, subject: int, scheme: bytes) -> x509.Certificate:
    """A whole certificate, put together as a caller has to."""
    parts = partial(DIGITAL_SIGNATURE, extension(TPMA_OBJECT, (ATTRIBUTES | SIGN).to_bytes(4)))
    answer = tester.run(
        CC.CERTIFY_X509, [subject, signer], params(parts, scheme), [Password(), Password()]
    )
    assert answer.rc == 0, hex(answer.rc)
    added = elements(elements(answer.sized())[0][1])
    version, serial, algorithm, key = (whole for whole, _ in added)
    names = b"".join(whole for whole, _ in elements(elements(parts)[0][1])[:3])
    extensions = elements(elements(parts)[0][1])[3][0]
    tbs = sequence(version, serial, algorithm, names, key, extensions)
    signature = answer.parameters[4 + len(answer.sized()) + len(answer.sized(1)) :]
    rest = Result(0, None, signature[4:])
    if scheme[:2] in (RSASSA[:2], RSAPSS[:2]):
        octets = rest.sized()
    else:
        octets = encode_dss_signature(int.from_bytes(rest.sized()), int.from_bytes(rest.sized(1)))
    assert answer.sized(1) == hashlib.new(HASHES[scheme[2:]], tbs).digest()
    return x509.load_der_x509_certificate(sequence(tbs, algorithm, der(3, b"\0", octets)))


HASHES = {words(alg): name for alg, name in HASH_NAMES.items()}


def elements(octets: bytes) -> list[tuple[bytes, bytes]]:
    """(all of it, contents) of the elements in a row."""
    found = []
    while octets:
        head, size = 2, octets[1]
        if size & 0x80:
            head = 2 + (size & 0x7F)
            size = int.from_bytes(octets[2:head])
        found.append((octets[: head + size], octets[head : head + size]))
        octets = octets[head + size :]
    return found


@pytest.mark.parametrize("scheme", [RSASSA, RSAPSS, words(ALG.RSAPSS, ALG.SHA1)])
def test_rsa_certificates_verify_elsewhere(tester: Tester, scheme: bytes) -> None:
    signer, subject = loaded(tester, SIGNER), loaded(tester, SUBJECT)
    certificate = certificate_of(tester, signer, subject, scheme)
    key = rsa_key(2048).public_key()
    hash_ = certificate.signature_hash_algorithm
    assert hash_ is not None
    used = certificate.signature_algorithm_parameters
    assert isinstance(used, padding.PKCS1v15 if scheme == RSASSA else padding.PSS)
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, used, hash_)
    assert public_octets(certificate) == ecc_key().public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert certificate.version is x509.Version.v3
    assert certificate.not_valid_before_utc == datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    assert certificate.serial_number > 0


@pytest.mark.parametrize("scheme", [ECDSA, words(ALG.ECDSA, ALG.SHA3_384)])
def test_ecdsa_certificates_verify_elsewhere(sha3_tester: Tester, scheme: bytes) -> None:
    signer, subject = (loaded(sha3_tester, pair) for pair in (ecc_areas(SIGN), rsa_areas(SIGN)))
    certificate = certificate_of(sha3_tester, signer, subject, scheme)
    used = certificate.signature_algorithm_parameters
    assert isinstance(used, ec.ECDSA)
    key = ecc_key().public_key()
    key.verify(certificate.signature, certificate.tbs_certificate_bytes, used)
    assert public_octets(certificate) == rsa_key(2048).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def public_octets(certificate: x509.Certificate) -> bytes:
    """SubjectPublicKeyInfo."""
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def loaded(tester: Tester, pair: tuple[bytes, bytes]) -> int:
    """The handle of an external object."""
    answer = areas.load_external(tester, *pair)
    assert answer.rc == 0, hex(answer.rc)
    assert answer.handle is not None
    return answer.handle


@pytest.mark.parametrize(
    ("certificate", "rc"),
    [
        (b"", RC.VALUE),
        (b"\x30", RC.SIZE),
        (sequence(), RC.VALUE),
        (b"\x31\0", RC.SIZE),
        (partial(DIGITAL_SIGNATURE) + b"\0", RC.SIZE),
        (partial(DIGITAL_SIGNATURE)[:-1], RC.SIZE),
        (partial(), RC.VALUE),
        (partial(DIGITAL_SIGNATURE, before=ALGORITHM, after=NAME), RC.VALUE),
        (partial(DIGITAL_SIGNATURE, after=der(2, b"\0")), RC.VALUE),
        (partial(DIGITAL_SIGNATURE, after=der(0xA3, sequence(DIGITAL_SIGNATURE))), RC.VALUE),
        (sequence(NAME, VALIDITY, der(0xA3, sequence(DIGITAL_SIGNATURE))), RC.VALUE),
        (sequence(NAME, VALIDITY, NAME), RC.VALUE),
        (sequence(NAME, VALIDITY, NAME, der(0xA3, DIGITAL_SIGNATURE)), RC.VALUE),
        (partial(DIGITAL_SIGNATURE, der(2, b"\0")), RC.VALUE),
        (partial(der(2, b"\0"), DIGITAL_SIGNATURE), RC.VALUE),
        (partial(sequence(KEY_USAGE)), RC.VALUE),
        (partial(sequence(KEY_USAGE, der(4, der(2, b"\1")))), RC.VALUE),
        (partial(extension(KEY_USAGE, b"", 1)), RC.VALUE),
        (partial(extension(KEY_USAGE, b"\x80", 8)), RC.VALUE),
        (partial(extension(TPMA_OBJECT, (ATTRIBUTES | SIGN).to_bytes(4))), RC.VALUE),
    ],
)
def test_certificates_that_are_none(pair: Pair, certificate: bytes, rc: int) -> None:
    handles = (pair.load(SUBJECT), pair.load(SIGNER))
    assert hex(pair.refuse(CC.CERTIFY_X509, handles, params(certificate), 2)) == hex(rc | P3)


@pytest.mark.parametrize("usage", range(9))
@pytest.mark.parametrize("attributes", [SIGN, DECRYPT, SIGN | DECRYPT, DECRYPT | RESTRICTED])
def test_a_key_is_certified_for_what_it_can_do(tester: Tester, attributes: int, usage: int) -> None:
    """Table 45 of Part 2. libtpms answers RC.VALUE; the clause has RC.ATTRIBUTES."""
    needs = [SIGN, areas.FIXED_TPM, DECRYPT | RESTRICTED, DECRYPT, DECRYPT, SIGN, SIGN, DECRYPT]
    needed = [*needs, DECRYPT][usage]
    signer = loaded(tester, SIGNER)
    if attributes & RESTRICTED:
        subject = areas.loaded_primary(tester, areas.storage())
        attributes |= areas.FIXED_TPM
    else:
        subject = loaded(tester, ecc_areas(attributes))
    bits = (0x8000 >> usage).to_bytes(2)
    certificate = partial(extension(KEY_USAGE, bits, 7))
    auths = [Password(), Password()]
    answer = tester.run(CC.CERTIFY_X509, [subject, signer], params(certificate), auths)
    assert answer.rc == (0 if attributes & needed == needed else RC.ATTRIBUTES | H1)


SIGN_CERTIFICATES = extension(KEY_USAGE, b"\x04", 2)


@pytest.mark.parametrize(
    "certificate",
    [
        partial(DIGITAL_SIGNATURE, SIGN_CERTIFICATES),
        partial(SIGN_CERTIFICATES, DIGITAL_SIGNATURE),
        partial(DIGITAL_SIGNATURE, *[extension(TPMA_OBJECT, (ATTRIBUTES | SIGN).to_bytes(4))] * 2),
    ],
)
def test_an_extension_twice_is_refused(tester: Tester, certificate: bytes) -> None:
    """Only one would have been checked, as in libtpms (RFC 5280, 4.2)."""
    handles = [loaded(tester, SUBJECT), loaded(tester, SIGNER)]
    auths = [Password(), Password()]
    answer = tester.run(CC.CERTIFY_X509, handles, params(certificate), auths)
    assert answer.rc == RC.VALUE | P3


def test_a_size_with_zeros_before_is_not_der(tester: Tester) -> None:
    handles = [loaded(tester, SUBJECT), loaded(tester, SIGNER)]
    auths = [Password(), Password()]
    contents = elements(partial(DIGITAL_SIGNATURE, before=sequence(bytes(100))))[0][1]
    size = len(contents).to_bytes(1)
    for size_octets, rc in ((b"\x81" + size, 0), (b"\x82\0" + size, RC.SIZE | P3)):
        octets = b"\x30" + size_octets + contents
        assert tester.run(CC.CERTIFY_X509, handles, params(octets), auths).rc == rc


@pytest.mark.parametrize("x", [b"\1" * 32, b"\xff" * 66])
def test_a_point_off_the_curve_is_not_certified(tester: Tester, x: bytes) -> None:
    """libtpms takes it as it is."""
    signer = loaded(tester, SIGNER)
    public = areas.ecc(ATTRIBUTES | SIGN, alg=ALG.NULL, x=x, y=bytes(32))
    subject = loaded(tester, (public, areas.sensitive(ALG.ECC, b"\1" * 32)))
    octets = params(partial(DIGITAL_SIGNATURE))
    answer = tester.run(CC.CERTIFY_X509, [subject, signer], octets, [Password(), Password()])
    assert answer.rc == RC.KEY | H1


def test_what_else_is_refused(tester: Tester) -> None:
    """Debian's libtpms mixes the two handles up in these codes; later versions don't."""
    signer, subject = loaded(tester, SIGNER), loaded(tester, SUBJECT)

    def refused(handles: list[int], octets: bytes) -> int:
        answer = tester.run(CC.CERTIFY_X509, handles, octets, [Password(), Password()])
        assert answer.rc
        return answer.rc

    good = partial(DIGITAL_SIGNATURE)
    assert refused([subject, signer], params(good, reserved=b"x")) == RC.SIZE | P1
    assert refused([subject, signer], params(good, NONE)) == RC.SCHEME | P2
    assert refused([subject, signer], params(good, ECDSA)) == RC.SCHEME | P2
    assert refused([signer, subject], params(good, ECSCHNORR)) == RC.SCHEME | H2
    wrong = partial(DIGITAL_SIGNATURE, extension(TPMA_OBJECT, SIGN.to_bytes(4)))
    assert refused([subject, signer], params(wrong)) == RC.ATTRIBUTES | H1
    unknown = partial(extension(KEY_USAGE, b"\x80\x00\x01"))
    assert refused([subject, signer], params(unknown)) == RC.RESERVED_BITS | P3
    mac = loaded(tester, hmac_areas(SIGN | DECRYPT))
    assert refused([mac, signer], params(good)) == RC.ASYMMETRIC | H1
    assert refused([subject, mac], params(good, words(ALG.HMAC, ALG.SHA256))) == RC.SCHEME | H2
    areas.flush(tester, mac)
    decrypt = loaded(tester, rsa_areas(DECRYPT))
    assert refused([subject, decrypt], params(good)) == RC.KEY | H2
    areas.flush(tester, decrypt)
    public, sensitive = rsa_areas(SIGN)
    nameless = loaded(tester, (public[:2] + NONE + public[4:], sensitive))
    assert refused([subject, nameless], params(good)) == RC.HASH | H2
