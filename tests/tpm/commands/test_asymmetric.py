"""Part 3, chapter 14: encryption and key exchange as swtpm and `cryptography` do them."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, RESTRICTED, SIGN, words
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.known_keys import (
    H1,
    P1,
    P2,
    P3,
    P4,
    Pair,
    ecc_areas,
    ecc_key,
    hmac_areas,
    point,
    rsa_areas,
    rsa_key,
)
from vtpmd.tpm.crypto import ecc
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE

RSAES, OAEP = words(ALG.RSAES), words(ALG.OAEP, ALG.SHA256)
OAEP_SHA1, OAEP_SHA512 = words(ALG.OAEP, ALG.SHA1), words(ALG.OAEP, ALG.SHA512)
ECDH, ECDSA = words(ALG.ECDH, ALG.SHA256), words(ALG.ECDSA, ALG.SHA256)
KDF2, KDF2_SHA512 = words(ALG.KDF2, ALG.SHA256), words(ALG.KDF2, ALG.SHA512)
CURVES = [ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384, ECC_CURVE.NIST_P521]
OFF_CURVE = sized(sized(b"a") + sized(b"b"))
NO_POINT = sized(words(0, 0))


def rsa(data: bytes, scheme: bytes = NONE, label: bytes = b"") -> bytes:
    """Parameters of TPM2_RSA_Encrypt and TPM2_RSA_Decrypt."""
    return sized(data) + scheme + sized(label)


@pytest.mark.parametrize("own", [NONE, RSAES, OAEP], ids=["null", "rsaes", "oaep"])
def test_rsa_there_and_back(pair: Pair, own: bytes) -> None:
    """What one encrypts the other decrypts; without padding, to the same number."""
    handle = pair.load(rsa_areas(DECRYPT, own))
    for scheme in (NONE, RSAES, OAEP, OAEP_SHA1, OAEP_SHA512, words(ALG.RSASSA, ALG.SHA256)):
        for label in (b"", b"label\0"):
            for message in (b"", b"message", b"\0\0message"):
                params = rsa(message, scheme, label)
                ours, theirs = pair.run(CC.RSA_ENCRYPT, (handle,), params)
                if ours.rc:
                    continue
                if scheme + own == NONE + NONE:
                    assert ours.parameters == theirs.parameters
                    message = message.rjust(256, b"\0")
                for answer in (ours, theirs):
                    params = rsa(answer.sized(), scheme, label)
                    opened = pair.same(CC.RSA_DECRYPT, (handle,), params, 1)
                    assert opened.sized() == message


@pytest.mark.parametrize("scheme", [RSAES, OAEP, OAEP_SHA1, OAEP_SHA512])
def test_rsa_with_others(tester: Tester, scheme: bytes) -> None:
    handle = loaded(tester, rsa_areas(DECRYPT))
    key = rsa_key(2048)
    used: padding.AsymmetricPadding = padding.PKCS1v15()
    label = b""
    if scheme != RSAES:
        hash_ = {OAEP: hashes.SHA256(), OAEP_SHA1: hashes.SHA1(), OAEP_SHA512: hashes.SHA512()}
        label = b"label\0"
        algorithm = hash_[scheme]
        used = padding.OAEP(padding.MGF1(algorithm), algorithm, label)
    encrypted = key.public_key().encrypt(b"message", used)
    params = rsa(encrypted, scheme, label)
    answer = tester.run(CC.RSA_DECRYPT, [handle], params, [Password()])
    assert answer.sized() == b"message"
    answer = tester.run(CC.RSA_ENCRYPT, [handle], rsa(b"message", scheme, label))
    assert key.decrypt(answer.sized(), used) == b"message"


def test_rsa_without_padding_is_a_power(pair: Pair) -> None:
    handle = pair.load(rsa_areas(DECRYPT))
    n = rsa_key(2048).public_key().public_numbers().n
    answer = pair.same(CC.RSA_ENCRYPT, (handle,), rsa(b"\7"))
    assert int.from_bytes(answer.sized()) == pow(7, 65537, n)
    for number in (0, 1, n - 1):
        for code, password in ((CC.RSA_ENCRYPT, 0), (CC.RSA_DECRYPT, 1)):
            answer = pair.same(code, (handle,), rsa(number.to_bytes(256)), password)
            assert answer.sized() == number.to_bytes(256)
    for number in (n, 2**2048 - 1):  # TPM_RC_FAILURE from OpenSSL, in Debian's libtpms
        params = rsa(number.to_bytes(256))
        assert pair.engine.run(CC.RSA_ENCRYPT, [handle], params).rc == RC.VALUE
        assert pair.engine.run(CC.RSA_DECRYPT, [handle], params, [Password()]).rc == RC.VALUE
    assert pair.refuse(CC.RSA_ENCRYPT, (handle,), rsa(b"\1" + bytes(256))) == RC.VALUE
    pair.same(CC.RSA_ENCRYPT, (handle,), rsa(b"\0" + (n - 1).to_bytes(256)))


@pytest.mark.parametrize(
    ("key", "code", "params", "rc"),
    [
        (ecc_areas(DECRYPT), CC.RSA_ENCRYPT, rsa(b""), RC.KEY | H1),
        (ecc_areas(DECRYPT), CC.RSA_DECRYPT, rsa(b""), RC.KEY | H1),
        (rsa_areas(SIGN), CC.RSA_ENCRYPT, rsa(b""), RC.ATTRIBUTES | H1),
        (rsa_areas(SIGN), CC.RSA_DECRYPT, rsa(b""), RC.ATTRIBUTES | H1),
        (rsa_areas(DECRYPT), CC.RSA_ENCRYPT, rsa(b"", OAEP, b"label"), RC.VALUE | P3),
        (rsa_areas(DECRYPT), CC.RSA_DECRYPT, rsa(b"", RSAES, b"label"), RC.VALUE | P3),
        (rsa_areas(DECRYPT, OAEP), CC.RSA_ENCRYPT, rsa(b"", OAEP_SHA1), RC.SCHEME | P2),
        (rsa_areas(DECRYPT, OAEP), CC.RSA_DECRYPT, rsa(b"", RSAES), RC.SCHEME | P2),
        (rsa_areas(DECRYPT), CC.RSA_ENCRYPT, rsa(b"", ECDH), RC.VALUE | P2),
        (rsa_areas(DECRYPT), CC.RSA_DECRYPT, rsa(b"short", OAEP), RC.SIZE),
        (rsa_areas(DECRYPT), CC.RSA_DECRYPT, rsa(b"short", RSAES), RC.SIZE),
        (rsa_areas(DECRYPT), CC.RSA_DECRYPT, rsa(bytes(255)), RC.SIZE),
        (rsa_areas(DECRYPT), CC.RSA_DECRYPT, rsa(bytes(257)), RC.SIZE),
        (rsa_areas(DECRYPT), CC.RSA_ENCRYPT, rsa(bytes(513)), RC.SIZE | P1),
    ],
)
def test_what_rsa_refuses(
    pair: Pair, key: tuple[bytes, bytes], code: int, params: bytes, rc: int
) -> None:
    handle = pair.load(key)
    password = int(code == CC.RSA_DECRYPT)
    assert hex(pair.refuse(code, (handle,), params, password)) == hex(rc)


def test_padding_that_fails_is_a_bad_value(tester: Tester) -> None:
    """Debian's libtpms answers TPM_RC_FAILURE when OpenSSL refuses; the clauses have this."""
    handle = loaded(tester, rsa_areas(DECRYPT))
    for scheme, room in ((RSAES, 245), (OAEP, 190), (OAEP_SHA1, 214), (OAEP_SHA512, 126)):
        message = bytes(room + 1)
        assert tester.run(CC.RSA_ENCRYPT, [handle], rsa(message, scheme)).rc == RC.VALUE
        fitting = tester.run(CC.RSA_ENCRYPT, [handle], rsa(message[1:], scheme))
        assert fitting.rc == 0
        for octets in (bytes(256), bytes(255) + b"\2", b"\xff" * 256):
            answer = tester.run(CC.RSA_DECRYPT, [handle], rsa(octets, scheme), [Password()])
            assert answer.rc == RC.VALUE
        if scheme != RSAES:
            params = rsa(fitting.sized(), scheme, b"other\0")
            assert tester.run(CC.RSA_DECRYPT, [handle], params, [Password()]).rc == RC.VALUE


def loaded(tester: Tester, pair: tuple[bytes, bytes]) -> int:
    """The handle of an external object."""
    answer = areas.load_external(tester, *pair)
    assert answer.rc == 0, hex(answer.rc)
    assert answer.handle is not None
    return answer.handle


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
def test_storage_keys_decrypt_for_the_tpm_only(pair: Pair, peer: str) -> None:
    tester: Tester = getattr(pair, peer)
    ecc_handle = areas.loaded_primary(tester, areas.storage())
    template = areas.rsa(
        areas.OWN | RESTRICTED | DECRYPT | areas.NO_DA, symmetric=areas.AES_128_CFB
    )
    rsa_handle = areas.loaded_primary(tester, template)
    for code, handle, params in (
        (CC.RSA_DECRYPT, rsa_handle, rsa(bytes(256))),
        (CC.ECDH_ZGEN, ecc_handle, OFF_CURVE),
        (CC.ZGEN_2PHASE, ecc_handle, OFF_CURVE * 2 + words(ALG.ECDH, 0)),
    ):
        assert tester.run(code, [handle], params, [Password()]).rc == RC.ATTRIBUTES | H1
    assert tester.run(CC.RSA_ENCRYPT, [rsa_handle], rsa(b"message", OAEP)).rc == 0


def coordinates(answer: bytes) -> tuple[bytes, bytes]:
    """x and y of a TPMS_ECC_POINT."""
    parsed = Result(0, None, answer)
    return parsed.sized(), parsed.sized(1)


def library_point(curve: ec.EllipticCurve, octets: bytes) -> ec.EllipticCurvePublicKey:
    """A TPMS_ECC_POINT, which is checked to be on the curve."""
    x, y = coordinates(octets)
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\4" + x + y)


def wire_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """A TPM2B_ECC_POINT."""
    x, y = point(key)
    return sized(sized(x) + sized(y))


@pytest.mark.parametrize("curve", CURVES)
def test_ecdh(pair: Pair, curve: int) -> None:
    """The secret of KeyGen is that of ZGen, of swtpm's, and of `cryptography`."""
    handle = pair.load(ecc_areas(DECRYPT, curve=curve))
    key = ecc_key(curve)
    for answer in pair.run(CC.ECDH_KEY_GEN, (handle,)):
        z, ephemeral = answer.sized(), answer.sized(1)
        size = (key.key_size + 7) // 8
        assert [len(c) for c in (*coordinates(z), *coordinates(ephemeral))] == [size] * 4
        again = pair.same(CC.ECDH_ZGEN, (handle,), sized(ephemeral), 1)
        assert again.sized() == z
        library_point(key.curve, z)
        shared = key.exchange(ec.ECDH(), library_point(key.curve, ephemeral))
        assert coordinates(z)[0] == shared
    public = pair.load((ecc_areas(DECRYPT, curve=curve)[0], b""))
    pair.run(CC.ECDH_KEY_GEN, (public,))


@pytest.mark.parametrize("curve", CURVES)
def test_zgen_of_its_own_point_and_its_opposite(pair: Pair, curve: int) -> None:
    """Corners of the computation of y."""
    handle = pair.load(ecc_areas(DECRYPT, curve=curve))
    key = ecc_key(curve).public_key()
    x, y = point(key)
    p = ecc.CURVES[curve].p
    opposite = sized(sized(x) + sized((p - int.from_bytes(y)).to_bytes(len(y))))
    generator = ec.derive_private_key(1, key.curve).public_key()
    for octets in (wire_point(key), opposite, wire_point(generator)):
        pair.same(CC.ECDH_ZGEN, (handle,), octets, 1)


@pytest.mark.parametrize(
    ("key", "octets", "rc"),
    [
        (rsa_areas(DECRYPT), OFF_CURVE, RC.KEY | H1),
        (ecc_areas(SIGN), OFF_CURVE, RC.ATTRIBUTES | H1),
        (ecc_areas(DECRYPT, ECDH), OFF_CURVE, RC.ECC_POINT | P1),
        (ecc_areas(DECRYPT), NO_POINT, RC.ECC_POINT | P1),
        (ecc_areas(DECRYPT), sized(b""), RC.SIZE | P1),
    ],
)
def test_what_zgen_refuses(pair: Pair, key: tuple[bytes, bytes], octets: bytes, rc: int) -> None:
    handle = pair.load(key)
    assert hex(pair.refuse(CC.ECDH_ZGEN, (handle,), octets, 1)) == hex(rc)


def test_what_key_gen_refuses(pair: Pair) -> None:
    assert pair.refuse(CC.ECDH_KEY_GEN, (pair.load(rsa_areas(DECRYPT)),)) == RC.KEY | H1


def nameless_off_curve(tester: Tester) -> int:
    """A key that nobody has checked."""
    public = areas.ecc(areas.USER_AUTH | DECRYPT, alg=ALG.NULL, x=b"\1" * 32, y=bytes(32))
    return loaded(tester, (public, areas.sensitive(ALG.ECC, b"\1" * 32)))


def test_a_key_off_the_curve_is_no_key(tester: Tester) -> None:
    handle = nameless_off_curve(tester)
    assert tester.run(CC.ECDH_KEY_GEN, [handle]).rc == RC.KEY | H1
    assert tester.run(CC.ECC_ENCRYPT, [handle], sized(b"") + KDF2).rc == RC.NO_RESULT


@pytest.mark.parametrize("curve", CURVES)
def test_parameters_of_curves(pair: Pair, curve: int) -> None:
    answer = pair.same(CC.ECC_PARAMETERS, params=words(curve))
    assert answer.parameters[:4] == words(curve, ecc_key(curve).key_size)


@pytest.mark.parametrize("curve", [0, 6, ECC_CURVE.SM2_P256 + 1])
def test_curves_that_are_none(pair: Pair, curve: int) -> None:
    assert pair.refuse(CC.ECC_PARAMETERS, params=words(curve)) == RC.CURVE | P1
    assert pair.refuse(CC.EC_EPHEMERAL, params=words(curve)) == RC.CURVE | P1


def ephemeral(pair: Pair, curve: int) -> tuple[tuple[bytes, bytes], int]:
    """Public ephemeral keys of engine and swtpm, and the counter, which has to be the same."""
    ours, theirs = pair.run(CC.EC_EPHEMERAL, params=words(curve))
    assert ours.parameters[-2:] == theirs.parameters[-2:]
    return (ours.sized(), theirs.sized()), int.from_bytes(ours.parameters[-2:])


@pytest.mark.parametrize("own", [NONE, ECDH], ids=["null", "ecdh"])
@pytest.mark.parametrize("curve", CURVES)
def test_two_phases(pair: Pair, curve: int, own: bytes) -> None:
    """Both secrets, against `cryptography`; the ephemeral key serves once."""
    handle = pair.load(ecc_areas(DECRYPT, own, curve))
    library = ecc_key(curve).curve
    for _ in range(3):
        static, other = ec.generate_private_key(library), ec.generate_private_key(library)
        mine, counter = ephemeral(pair, curve)
        points = wire_point(static.public_key()) + wire_point(other.public_key())
        params = points + words(ALG.ECDH, counter)
        answers = pair.run(CC.ZGEN_2PHASE, (handle,), params, 1)
        for answer, ephemeral_key in zip(answers, mine, strict=True):
            z1, z2 = answer.sized(), answer.sized(1)
            library_point(library, z1)
            expected = static.exchange(ec.ECDH(), ecc_key(curve).public_key())
            assert coordinates(z1)[0] == expected
            expected = other.exchange(ec.ECDH(), library_point(library, ephemeral_key))
            assert coordinates(z2)[0] == expected
        assert pair.refuse(CC.ZGEN_2PHASE, (handle,), params, 1) == RC.VALUE | P4


def test_what_two_phases_refuse(pair: Pair) -> None:
    handle = pair.load(ecc_areas(DECRYPT))
    good = wire_point(ecc_key().public_key())
    _, counter = ephemeral(pair, ECC_CURVE.NIST_P256)

    def refused(key: int, points: bytes, scheme: int = ALG.ECDH, number: int = counter) -> int:
        return pair.refuse(CC.ZGEN_2PHASE, (key,), points + words(scheme, number), 1)

    assert refused(handle, OFF_CURVE + good) == RC.ECC_POINT | P1
    assert refused(handle, good + OFF_CURVE) == RC.ECC_POINT | P2
    assert refused(handle, good + NO_POINT) == RC.ECC_POINT | P2
    assert refused(handle, good + good, ALG.ECDSA) == RC.SCHEME | P3
    assert refused(handle, good + good, ALG.NULL) == RC.SCHEME | P3
    assert refused(handle, good + good, number=counter + 1) == RC.VALUE | P4
    assert refused(handle, good + good, number=(counter - 1) & 0xFFFF) == RC.VALUE | P4
    assert refused(handle, good + good, number=counter ^ 0x8000) == RC.VALUE | P4
    sign = pair.load(ecc_areas(SIGN))
    assert refused(sign, good + good) == RC.ATTRIBUTES | H1
    pair.flush(sign)
    assert refused(pair.load(rsa_areas(DECRYPT)), good + good) == RC.KEY | H1


def kdf2(alg: str, secret: bytes, size: int) -> bytes:
    """KDF2 of IEEE 1363a."""
    stream = b""
    counter = 0
    while len(stream) < size:
        counter += 1
        stream += hashlib.new(alg, secret + counter.to_bytes(4)).digest()
    return stream[:size]


@pytest.mark.parametrize(("scheme", "alg"), [(KDF2, "sha256"), (KDF2_SHA512, "sha512")])
@pytest.mark.parametrize("curve", CURVES)
def test_ecc_encryption(tester: Tester, curve: int, scheme: bytes, alg: str) -> None:
    """Decrypted here from C1, and there; and what is encrypted here is decrypted there."""
    handle = loaded(tester, ecc_areas(DECRYPT, curve=curve))
    key = ecc_key(curve)
    for message in (b"", b"message", bytes(1024)):
        answer = tester.run(CC.ECC_ENCRYPT, [handle], sized(message) + scheme)
        assert answer.rc == 0, hex(answer.rc)
        c1, c2, c3 = answer.sized(), answer.sized(1), answer.sized(2)
        zgen = tester.run(CC.ECDH_ZGEN, [handle], sized(c1), [Password()])
        x, y = coordinates(zgen.sized())
        assert x == key.exchange(ec.ECDH(), library_point(key.curve, c1))
        mask = kdf2(alg, x + y, len(message))
        assert bytes(a ^ b for a, b in zip(c2, mask, strict=True)) == message
        assert c3 == hashlib.new(alg, x + message + y).digest()
        params = sized(c1) + sized(c2) + sized(c3) + scheme
        opened = tester.run(CC.ECC_DECRYPT, [handle], params, [Password()])
        assert (opened.rc, opened.sized()) == (0, message)


def test_what_ecc_encryption_refuses(tester: Tester) -> None:
    handle = loaded(tester, ecc_areas(DECRYPT))
    answer = tester.run(CC.ECC_ENCRYPT, [handle], sized(b"message") + KDF2)
    c1, c2, c3 = answer.sized(), answer.sized(1), answer.sized(2)

    def decrypt(parts: tuple[bytes, bytes, bytes], scheme: bytes = KDF2, key: int = handle) -> int:
        params = b"".join(map(sized, parts)) + scheme
        return tester.run(CC.ECC_DECRYPT, [key], params, [Password()]).rc

    assert decrypt((c1, c2, c3)) == 0
    assert decrypt((c1, c2, c3), KDF2_SHA512) == RC.VALUE
    assert decrypt((c1, bytes(7), c3)) == RC.VALUE
    assert decrypt((c1, c2, bytes(32))) == RC.VALUE
    assert decrypt((c1, c2, c3[:-1])) == RC.VALUE
    assert decrypt((OFF_CURVE[2:], c2, c3)) == RC.ECC_POINT | P1
    assert decrypt((c1, c2, c3), NONE) == RC.SCHEME | P4
    assert decrypt((c1, c2, c3), words(ALG.MGF1, ALG.SHA256)) == RC.SCHEME
    rsa_handle = loaded(tester, rsa_areas(DECRYPT))
    assert decrypt((c1, c2, c3), KDF2, rsa_handle) == RC.KEY | H1
    params = sized(b"message") + KDF2
    assert tester.run(CC.ECC_ENCRYPT, [rsa_handle], params).rc == RC.KEY | H1
    assert tester.run(CC.ECC_ENCRYPT, [handle], sized(b"") + NONE).rc == RC.SCHEME | P2
    areas.flush(tester, rsa_handle)
    sign = loaded(tester, ecc_areas(SIGN))
    assert decrypt((c1, c2, c3), KDF2, sign) == RC.ATTRIBUTES | H1
    mac = loaded(tester, hmac_areas(SIGN | DECRYPT))
    assert tester.run(CC.ECC_ENCRYPT, [mac], params).rc == RC.KEY | H1
