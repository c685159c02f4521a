"""Part 3, chapter 18, and TPM2_NV_Certify: what is attested, by whom, and who verifies it."""

import hashlib
import struct
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.tpm import areas, states
from tests.tpm.areas import DECRYPT, NONE, RESTRICTED, SIGN, words
from tests.tpm.harness import AUDIT, CONTINUE, Password, Result, Tester, kdfa, sized
from tests.tpm.known_keys import (
    H1,
    H2,
    H3,
    P2,
    P3,
    P4,
    Pair,
    cipher_areas,
    ecc_areas,
    ecc_key,
    hmac_areas,
    point,
    rsa_areas,
    rsa_key,
)
from vtpmd.tpm.crypto import ecc
from vtpmd.tpm.crypto.ecc import Point
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH, ST

NULL, OWNER = int(RH.NULL), int(RH.OWNER)
ENDORSEMENT = int(RH.ENDORSEMENT)
RSASSA, ECDSA = words(ALG.RSASSA, ALG.SHA256), words(ALG.ECDSA, ALG.SHA256)
ECDAA = words(ALG.ECDAA, ALG.SHA256, 0)
NONCE = sized(b"nonce")
NO_POINT = sized(words(0, 0))
PCRS_0_TO_2 = (1).to_bytes(4) + words(ALG.SHA256) + b"\3\7\0\0"
NO_PCRS = bytes(4)
DIGEST = hashlib.sha256(b"x").digest()
CREATION_TICKET = words(ST.CREATION) + RH.OWNER.to_bytes(4) + sized(b"forged")
INDEX = 0x01500000


@dataclass
class Attested:
    """A TPMS_ATTEST."""

    octets: bytes
    signature: bytes

    def __init__(self, answer: Result) -> None:
        self.octets = answer.sized()
        self.signature = answer.parameters[2 + len(self.octets) :]
        magic, self.kind = struct.unpack_from(">IH", self.octets)
        assert magic == 0xFF544347
        rest = self.octets[6:]
        self.signer, rest = rest[2 : 2 + int.from_bytes(rest[:2])], rest[2 + rest[1] :]
        self.extra, rest = rest[2 : 2 + int.from_bytes(rest[:2])], rest[2 + rest[1] :]
        self.clock, self.resets, self.restarts, self.safe, self.firmware = struct.unpack_from(
            ">QIIBQ", rest
        )
        self.rest = rest[25:]
        """What is attested."""


def of_both(pair: Pair, code: int, handles: tuple[int, ...], params: bytes) -> Attested:
    """Attest on both; all but clock, counters and firmware version has to agree. Returns ours."""
    authorized = 1 if code in (CC.QUOTE, CC.CERTIFY_CREATION) else 2
    ours, theirs = (Attested(each) for each in pair.run(code, handles, params, authorized))
    shared = ("kind", "signer", "extra") + (() if code == CC.GET_TIME else ("rest",))
    for name in shared:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.signature[:4] == theirs.signature[:4]
    return ours


COMMANDS: dict[int, tuple[tuple[int, ...], bytes]] = {
    CC.QUOTE: ((), PCRS_0_TO_2),
    CC.GET_TIME: ((ENDORSEMENT,), b""),
    CC.GET_COMMAND_AUDIT_DIGEST: ((ENDORSEMENT,), b""),
}
"""Handles before the signer, and parameters after inScheme."""


@pytest.mark.parametrize("code", COMMANDS)
@pytest.mark.parametrize(
    "key",
    [
        rsa_areas(SIGN),
        rsa_areas(SIGN, RSASSA),
        rsa_areas(DECRYPT),
        ecc_areas(SIGN),
        ecc_areas(SIGN, ECDAA),
        hmac_areas(SIGN, words(ALG.HMAC, ALG.SHA256)),
        cipher_areas(SIGN | DECRYPT),
    ],
    ids=["rsa", "rsassa", "decrypt", "ecc", "ecdaa", "hmac", "cipher"],
)
def test_who_can_attest_with_which_scheme(pair: Pair, code: int, key: tuple[bytes, bytes]) -> None:
    before, after = COMMANDS[code]
    handle = pair.load(key)
    schemes = [NONE, RSASSA, ECDSA, ECDAA, words(ALG.HMAC, ALG.SHA256), words(ALG.RSASSA, 4)]
    for scheme in schemes:
        params = NONCE + scheme + after
        ours, _ = pair.run(code, (*before, handle), params, len(before) + 1)
        if not ours.rc:
            of_both(pair, code, (*before, handle), params)
    rc = pair.refuse(code, (*before, handle), NONCE + words(ALG.NULL + 1) + after, len(before) + 1)
    assert rc == RC.SCHEME | P2


def test_a_quote_verifies_elsewhere(pair: Pair) -> None:
    handle = pair.load(rsa_areas(SIGN))
    extend = (1).to_bytes(4) + words(ALG.SHA256) + DIGEST
    pair.same(CC.PCR_EXTEND, (1,), extend, 1)
    quote = of_both(pair, CC.QUOTE, (handle,), NONCE + RSASSA + PCRS_0_TO_2)
    assert (quote.kind, quote.extra) == (ST.ATTEST_QUOTE, b"nonce")
    pcr_1 = hashlib.sha256(bytes(32) + DIGEST).digest()
    values = bytes(32) + pcr_1 + bytes(32)
    assert quote.rest == PCRS_0_TO_2 + sized(hashlib.sha256(values).digest())
    assert quote.signature[:6] == RSASSA + words(256)
    key = rsa_key(2048).public_key()
    key.verify(quote.signature[6:], quote.octets, padding.PKCS1v15(), hashes.SHA256())


def test_a_quote_leaves_out_pcrs_that_do_not_exist(pair: Pair) -> None:
    handle = pair.load(rsa_areas(SIGN, RSASSA))
    of_both(pair, CC.QUOTE, (handle,), NONCE + NONE + NO_PCRS)
    everything = (2).to_bytes(4) + b"".join(
        words(alg) + b"\3\xff\xff\xff" for alg in (ALG.SHA512, ALG.SHA1)
    )
    of_both(pair, CC.QUOTE, (handle,), NONCE + NONE + everything)
    rc = pair.refuse(CC.QUOTE, (handle,), NONCE + NONE + (1).to_bytes(4) + words(0x10), 1)
    assert rc == RC.HASH | P3


def test_a_quote_without_a_key_needs_a_hash(tester: Tester, pair: Pair) -> None:
    """Later versions of the standard allow it; libtpms refuses every scheme (18.4, NOTE 3)."""
    assert pair.refuse(CC.QUOTE, (NULL,), NONCE + NONE + PCRS_0_TO_2, 1) == RC.SCHEME | P2
    scheme = words(ALG.RSASSA, ALG.SHA384)
    answer = tester.run(CC.QUOTE, [NULL], NONCE + scheme + PCRS_0_TO_2, [Password()])
    quote = Attested(answer)
    assert quote.signature == NONE
    assert quote.signer == RH.NULL.to_bytes(4)
    assert quote.rest == PCRS_0_TO_2 + sized(hashlib.sha384(bytes(96)).digest())


def test_certify_an_object(pair: Pair) -> None:
    handle, subject = pair.load(rsa_areas(SIGN)), pair.load(ecc_areas(SIGN))
    certified = of_both(pair, CC.CERTIFY, (subject, handle), NONCE + RSASSA)
    name = areas.name_of(ecc_areas(SIGN)[0])
    assert (certified.kind, certified.rest) == (ST.ATTEST_CERTIFY, sized(name) * 2)
    without = of_both(pair, CC.CERTIFY, (subject, NULL), NONCE + NONE)
    assert (without.rest, without.signature) == (certified.rest, NONE)
    primary = areas.loaded_primary(pair.engine, areas.storage())
    assert areas.loaded_primary(pair.swtpm, areas.storage()) == primary
    of_both(pair, CC.CERTIFY, (primary, handle), NONCE + RSASSA)


def test_certify_takes_a_key_that_signs(pair: Pair) -> None:
    decrypt, cipher = pair.load(rsa_areas(DECRYPT)), pair.load(cipher_areas(SIGN | DECRYPT))
    public = pair.load((ecc_areas(SIGN)[0], b""))
    params = NONCE + RSASSA
    assert pair.refuse(CC.CERTIFY, (decrypt, decrypt), params, 2) == RC.KEY | H2
    assert pair.refuse(CC.CERTIFY, (decrypt, cipher), params, 2) == RC.KEY | H2
    assert pair.refuse(CC.CERTIFY, (public, decrypt), params, 2) == RC.AUTH_UNAVAILABLE
    assert pair.refuse(CC.CERTIFY, (0x80000007, decrypt), params, 2) == RC.VALUE | H1
    pair.flush(public)
    assert pair.refuse(CC.CERTIFY, (public, decrypt), params, 2) == RC.REFERENCE_H0


def test_certify_creation(pair: Pair) -> None:
    """swtpm makes the same ticket."""
    handle = pair.load(rsa_areas(SIGN))
    created = areas.create_primary(pair.engine, areas.storage())
    other = areas.create_primary(pair.swtpm, areas.storage())
    assert created.handle == other.handle
    assert created.handle is not None
    rest = created.parameters
    for _ in range(2):
        rest = rest[2 + int.from_bytes(rest[:2]) :]
    creation_hash, ticket = rest[2:34], rest[34:]
    ticket = ticket[: 8 + int.from_bytes(ticket[6:8])]
    params = NONCE + sized(creation_hash) + RSASSA + ticket
    certified = of_both(pair, CC.CERTIFY_CREATION, (handle, created.handle), params)
    name = pair.engine.name(created.handle)
    assert certified.rest == sized(name) + sized(creation_hash)
    wrong = pair.refuse(CC.CERTIFY_CREATION, (handle, handle), params, 1)
    assert wrong == RC.TICKET | P4
    for forged in (CREATION_TICKET, words(ST.CREATION) + RH.NULL.to_bytes(4) + words(0)):
        params = NONCE + sized(creation_hash) + RSASSA + forged
        rc = pair.refuse(CC.CERTIFY_CREATION, (handle, created.handle), params, 1)
        assert rc == RC.TICKET | P4
    params = NONCE + sized(creation_hash) + NONE + ticket
    rc = pair.refuse(CC.CERTIFY_CREATION, (handle, created.handle), params, 1)
    assert rc == RC.SCHEME | P3


def test_time_is_attested_in_the_clear_and_outside_obfuscated(pair: Pair) -> None:
    """Both TPMs have the same proof, so they add the same numbers."""
    handle = pair.load(rsa_areas(SIGN))
    differences = []
    for each in pair.run(CC.GET_TIME, (ENDORSEMENT, handle), NONCE + RSASSA, 2):
        time = Attested(each)
        _, clock, resets, restarts, safe, firmware = struct.unpack(">QQIIBQ", time.rest)
        assert (clock, safe) == (time.clock, time.safe)
        differences.append(
            (
                (time.firmware - firmware) % (1 << 64),
                (time.resets - resets) % (1 << 32),
                (time.restarts - restarts) % (1 << 32),
            )
        )
    assert differences[0] == differences[1]
    assert all(differences[0])


def test_every_key_is_obfuscated_in_its_own_way(tester: Tester) -> None:
    seen = set()
    for template in (areas.rsa, areas.ecc):
        key = areas.loaded_primary(tester, template(areas.OWN | SIGN | areas.NO_DA))
        scheme = RSASSA if template is areas.rsa else ECDSA
        answer = tester.run(
            CC.GET_TIME, [ENDORSEMENT, key], NONCE + scheme, [Password(), Password()]
        )
        seen.add(Attested(answer).firmware)
    answer = tester.run(CC.GET_TIME, [ENDORSEMENT, NULL], NONCE + NONE, [Password(), Password()])
    seen.add(Attested(answer).firmware)
    assert len(seen) == 3


@pytest.mark.parametrize("hierarchy", [RH.ENDORSEMENT, RH.PLATFORM])
def test_keys_that_are_no_pseudonyms_attest_counters_in_the_clear(
    tester: Tester, hierarchy: int
) -> None:
    template = areas.ecc(areas.OWN | SIGN | RESTRICTED | areas.NO_DA, scheme=ECDSA)
    created = areas.create_primary(tester, template, hierarchy=hierarchy)
    assert created.handle is not None
    answer = tester.run(
        CC.GET_TIME, [ENDORSEMENT, created.handle], NONCE + NONE, [Password(), Password()]
    )
    time = Attested(answer)
    counters = struct.pack(
        ">QIIBQ", time.clock, time.resets, time.restarts, time.safe, time.firmware
    )
    assert time.rest[8:] == counters
    r = Result(0, None, time.signature[4:])
    public = created.sized()
    x, y = (int.from_bytes(Result(0, None, public[-68:]).sized(n)) for n in (0, 1))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    signature = encode_dss_signature(int.from_bytes(r.sized()), int.from_bytes(r.sized(1)))
    key.verify(signature, time.octets, ec.ECDSA(hashes.SHA256()))


def test_an_anonymous_signer_stays_anonymous(pair: Pair) -> None:
    """No Names, no data of the caller's in the clear; the commitment is used up."""
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    for _ in range(2):
        ours, theirs = pair.run(CC.COMMIT, (handle,), sized(words(0, 0)) + words(0, 0), 1)
        answers = []
        for tester, committed in ((pair.engine, ours), (pair.swtpm, theirs)):
            scheme = words(ALG.ECDAA, ALG.SHA256) + committed.parameters[-2:]
            quote = NONCE + scheme + PCRS_0_TO_2
            answers.append(Attested(tester.run(CC.QUOTE, [handle], quote, [Password()])))
            again = tester.run(CC.QUOTE, [handle], quote, [Password()])
            assert again.rc == RC.VALUE
        for quoted in answers:
            assert (quoted.signer, quoted.extra) == (b"", b"")
        assert answers[0].rest == answers[1].rest
    certify = pair.run(CC.COMMIT, (handle,), sized(words(0, 0)) + words(0, 0), 1)[0]
    scheme = words(ALG.ECDAA, ALG.SHA256) + certify.parameters[-2:]
    answer = pair.engine.run(CC.CERTIFY, [handle, handle], NONCE + scheme, [Password(), Password()])
    assert Attested(answer).rest == sized(areas.name_of(ecc_areas(SIGN, ECDAA)[0])) + words(0)


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
@pytest.mark.parametrize("nonce", [b"nonce", b""])
def test_an_anonymous_signature_is_of_nonce_and_attestation(
    pair: Pair, peer: str, nonce: bytes
) -> None:
    """[s]G - [T]Q is the commitment, T a hash of k, the nonce and the attestation's digest."""
    tester: Tester = getattr(pair, peer)
    handle = pair.load(ecc_areas(SIGN, ECDAA))
    committed = tester.run(CC.COMMIT, [handle], NO_POINT + words(0, 0), [Password()])
    scheme = ECDAA[:4] + committed.parameters[-2:]
    params = sized(nonce) + scheme + PCRS_0_TO_2
    quoted = Attested(tester.run(CC.QUOTE, [handle], params, [Password()]))
    signed = hashlib.sha256(quoted.octets).digest()
    if nonce:
        signed = hashlib.sha256(nonce + signed).digest()
    numbers = Result(0, None, quoted.signature[4:])
    curve = ecc.CURVES[ECC_CURVE.NIST_P256]
    t = int.from_bytes(hashlib.sha256(numbers.sized() + signed).digest()) % curve.n
    public = Point(*(int.from_bytes(c) for c in point(ecc_key().public_key())))
    left = ecc.multiply(curve, int.from_bytes(numbers.sized(1)), curve.g)
    right = ecc.multiply(curve, curve.n - t, public)
    e = Result(0, None, committed.sized(2))
    commitment = Point(int.from_bytes(e.sized()), int.from_bytes(e.sized(1)))
    assert ecc.add(curve, left, right) == commitment


def test_anonymous_keys_of_one_tpm_have_no_counters_in_common(tester: Tester) -> None:
    """libtpms adds the same to the counters of all of them, so that one is known by another."""
    seen = set()
    for curve in (ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384):
        handle = areas.load_external(tester, *ecc_areas(SIGN, ECDAA, curve)).handle
        assert handle is not None
        committed = tester.run(CC.COMMIT, [handle], NO_POINT + words(0, 0), [Password()])
        params = NONCE + ECDAA[:4] + committed.parameters[-2:] + PCRS_0_TO_2
        quoted = Attested(tester.run(CC.QUOTE, [handle], params, [Password()]))
        seen.add((quoted.resets, quoted.restarts, quoted.firmware))
    assert len(seen) == 2


def test_session_audit(pair: Pair) -> None:
    """The digest is that of the two hashes of every command, computed here."""
    key = pair.load(rsa_areas(SIGN))
    sessions = [tester.start_session() for tester in (pair.engine, pair.swtpm)]
    handle = sessions[0].handle
    assert sessions[1].handle == handle
    params = NONCE + RSASSA
    code = CC.GET_SESSION_AUDIT_DIGEST
    assert pair.refuse(code, (ENDORSEMENT, key, handle), params, 2) == RC.TYPE | H3
    assert pair.refuse(code, (ENDORSEMENT, key, handle), NONCE + ECDSA, 2) == RC.SCHEME | P2
    assert pair.refuse(code, (ENDORSEMENT, key, handle + 1), params, 2) == RC.REFERENCE_H0 + 2
    assert pair.refuse(code, (OWNER, key, handle), params, 2) == RC.VALUE | H1
    for tester, session in zip((pair.engine, pair.swtpm), sessions, strict=True):
        session.attributes = CONTINUE | AUDIT
        assert tester.run(CC.STIR_RANDOM, params=sized(b"seed"), auths=[session]).rc == 0
    audited = of_both(pair, code, (ENDORSEMENT, NULL, handle), NONCE + NONE)
    cp_hash = hashlib.sha256(CC.STIR_RANDOM.to_bytes(4) + sized(b"seed")).digest()
    rp_hash = hashlib.sha256(bytes(4) + CC.STIR_RANDOM.to_bytes(4)).digest()
    digest = hashlib.sha256(bytes(32) + cp_hash + rp_hash).digest()
    assert audited.rest == b"\1" + sized(digest)
    later = of_both(pair, code, (ENDORSEMENT, key, handle), params)
    assert later.rest == b"\0" + sized(digest)


def test_certify_nv(pair: Pair) -> None:
    handle = pair.load(rsa_areas(SIGN))
    attributes = 0x02020002 | 1 << 18 | 1 << 1
    public = struct.pack(">IHI", INDEX, ALG.SHA256, attributes) + words(0, 40)
    pair.same(CC.NV_DEFINE_SPACE, (OWNER,), words(0) + sized(public), 1)

    def params(size: int, offset: int, scheme: bytes = RSASSA) -> bytes:
        return NONCE + scheme + words(size, offset)

    def refused(size: int, offset: int, scheme: bytes = RSASSA, by: int = OWNER) -> int:
        handles = (handle, by, INDEX)
        return pair.refuse(CC.NV_CERTIFY, handles, params(size, offset, scheme), 2)

    assert refused(0, 0) == RC.NV_UNINITIALIZED
    data = bytes(range(40))
    pair.same(CC.NV_WRITE, (OWNER, INDEX), sized(data) + words(0), 1)
    name = pair.engine.name(INDEX)
    part = of_both(pair, CC.NV_CERTIFY, (handle, OWNER, INDEX), params(10, 5))
    assert (part.kind, part.rest) == (ST.ATTEST_NV, sized(name) + words(5) + sized(data[5:15]))
    empty = of_both(pair, CC.NV_CERTIFY, (handle, OWNER, INDEX), params(0, 40))
    assert empty.rest == sized(name) + words(40) + words(0)
    whole = of_both(pair, CC.NV_CERTIFY, (handle, OWNER, INDEX), params(0, 0))
    digest = hashlib.sha256(data).digest()
    assert (whole.kind, whole.rest) == (ST.ATTEST_NV_DIGEST, sized(name) + sized(digest))
    assert refused(10, 31) == RC.NV_RANGE
    assert refused(0, 41) == RC.NV_RANGE
    assert refused(41, 0) == RC.NV_RANGE
    assert refused(1, 0, ECDSA) == RC.SCHEME | P2
    assert refused(1, 0, by=int(RH.PLATFORM)) == RC.NV_AUTHORIZATION
    assert pair.refuse(CC.NV_CERTIFY, (NULL, OWNER, INDEX + 1), params(1, 0), 2) == RC.HANDLE | H3


def test_certify_all_of_nv_without_a_key_needs_a_hash(tester: Tester) -> None:
    """libtpms, as older versions of the standard, gives an empty digest (31.16, NOTE 5)."""
    public = struct.pack(">IHI", INDEX, ALG.SHA256, 0x02020002 | 1 << 18 | 1 << 1) + words(0, 4)
    define = words(0) + sized(public)
    assert tester.run(CC.NV_DEFINE_SPACE, [OWNER], define, [Password()]).rc == 0
    write = sized(b"data") + words(0)
    assert tester.run(CC.NV_WRITE, [OWNER, INDEX], write, [Password()]).rc == 0

    def certify(scheme: bytes) -> Result:
        params = NONCE + scheme + words(0, 0)
        return tester.run(CC.NV_CERTIFY, [NULL, OWNER, INDEX], params, [Password(), Password()])

    assert certify(NONE).rc == RC.SCHEME | P2
    rest = Attested(certify(words(ALG.ECDSA, ALG.SHA1))).rest
    assert rest.endswith(sized(hashlib.sha1(b"data").digest()))


def test_obfuscation_is_keyed_with_the_owners_proof(pair: Pair) -> None:
    """By the derivation of 18.1, with the hash that protects contexts."""
    proof = states.read(pair.state()[0])["permanent"]["owner"]["proof"]
    octets = kdfa(ALG.SHA512, proof, b"OBFUSCATE", RH.NULL.to_bytes(4), b"", 128)
    added, restarts, resets = struct.unpack("<QII", octets)
    ours, _ = pair.run(CC.GET_TIME, (ENDORSEMENT, NULL), NONCE + NONE, 2)
    time = Attested(ours)
    *_, plain_resets, plain_restarts, _, firmware = struct.unpack(">QQIIBQ", time.rest)
    assert time.firmware == (firmware + added) % (1 << 64)
    assert time.resets == (plain_resets + resets) % (1 << 32)
    assert time.restarts == (plain_restarts + restarts) % (1 << 32)
