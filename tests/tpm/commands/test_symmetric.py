"""Part 3, chapter 15: ciphers, hashes and MACs as swtpm computes them, and as others do."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, RESTRICTED, SIGN, words
from tests.tpm.harness import DECRYPT as DECRYPT_SESSION
from tests.tpm.harness import ENCRYPT, HASH_NAMES, Password, Session, Tester, sized
from tests.tpm.known_keys import (
    H1,
    HMAC_KEY,
    P1,
    P2,
    P3,
    P4,
    Pair,
    cipher_areas,
    hmac_areas,
    rsa_areas,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, ST

IV = bytes(range(16))
MODES = [ALG.CFB, ALG.CBC, ALG.CTR, ALG.OFB, ALG.ECB]
HMAC_SHA256 = words(ALG.HMAC, ALG.SHA256)
GENERATED = b"\xffTCG"


def forms(data: bytes, mode: int, iv: bytes, decrypt: int) -> dict[int, bytes]:
    """Parameters of the two commands that encrypt and decrypt."""
    head = bytes((decrypt,)) + words(mode)
    return {
        CC.ENCRYPT_DECRYPT: head + sized(iv) + sized(data),
        CC.ENCRYPT_DECRYPT2: sized(data) + head + sized(iv),
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("alg", [ALG.AES, ALG.CAMELLIA])
def test_every_mode_there_and_back(pair: Pair, mode: int, size: int, alg: int) -> None:
    key = bytes(range(size))
    handle = pair.load(cipher_areas(SIGN | DECRYPT, ALG.NULL, key, alg))
    iv = b"" if mode == ALG.ECB else IV
    lengths = [0, 16, 32, 1024] + ([1, 17, 35] if mode not in (ALG.CBC, ALG.ECB) else [])
    for length in lengths:
        data = bytes(n * 7 & 0xFF for n in range(length))
        outputs = set()
        for code, params in forms(data, mode, iv, 0).items():
            outputs.add(pair.same(code, (handle,), params, 1).parameters)
        (output,) = outputs
        encrypted = output[2 : 2 + length]
        for code, params in forms(encrypted, mode, iv, 1).items():
            answer = pair.same(code, (handle,), params, 1)
            assert answer.sized() == data
            assert answer.sized(1) == output[4 + length :]


@pytest.mark.parametrize("size", [16, 24, 32])
def test_ctr_is_ctr(tester: Tester, size: int) -> None:
    key = bytes(range(size))
    loaded = areas.load_external(tester, *cipher_areas(SIGN, ALG.CTR, key))
    assert loaded.handle is not None
    for params in forms(b"message", ALG.NULL, IV, 0).items():
        answer = tester.run(params[0], [loaded.handle], params[1], [Password()])
        encryptor = Cipher(AES(key), CTR(IV)).encryptor()
        assert answer.sized() == encryptor.update(b"message")
        assert int.from_bytes(answer.sized(1)) == int.from_bytes(IV) + 1


KEYS = {
    "any mode": cipher_areas(SIGN | DECRYPT, ALG.NULL),
    "cfb": cipher_areas(SIGN | DECRYPT, ALG.CFB),
    "encrypt": cipher_areas(SIGN, ALG.CFB),
    "decrypt": cipher_areas(DECRYPT, ALG.CFB),
    "cmac": cipher_areas(SIGN, ALG.CMAC),
    "hmac": hmac_areas(SIGN | DECRYPT),
    "hmac with sha256": hmac_areas(SIGN, HMAC_SHA256),
    "xor": hmac_areas(DECRYPT, words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)),
    "data": hmac_areas(0),
    "rsa": rsa_areas(SIGN | DECRYPT),
}


@pytest.mark.parametrize("name", KEYS)
def test_codes_of_every_combination(pair: Pair, name: str) -> None:
    """Which fault of several a code tells is what swtpm tells."""
    handle = pair.load(KEYS[name])
    for mode in (ALG.NULL, ALG.CFB, ALG.CBC, ALG.CMAC, ALG.SHA256):
        for decrypt in (0, 1, 2):
            for iv in (b"", IV, IV[:8]):
                for data in (b"", bytes(16), bytes(17)):
                    for code, params in forms(data, mode, iv, decrypt).items():
                        ours, theirs = pair.run(code, (handle,), params, 1)
                        assert ours.parameters == theirs.parameters
    for scheme in (ALG.NULL, ALG.SHA1, ALG.SHA256, ALG.CMAC, ALG.SM3_256):
        ours, theirs = pair.run(CC.MAC, (handle,), sized(b"data") + words(scheme), 1)
        assert ours.parameters == theirs.parameters


@pytest.mark.parametrize(
    ("name", "mode", "iv", "data", "decrypt", "rc", "first", "second"),
    [
        ("rsa", ALG.CFB, IV, b"", 0, RC.KEY, H1, H1),
        ("hmac", ALG.CFB, IV, b"", 0, RC.KEY, H1, H1),
        ("encrypt", ALG.CFB, IV, b"", 1, RC.ATTRIBUTES, H1, H1),
        ("decrypt", ALG.CFB, IV, b"", 0, RC.ATTRIBUTES, H1, H1),
        ("cmac", ALG.NULL, IV, b"", 0, RC.MODE, H1, H1),
        ("cfb", ALG.CBC, IV, b"", 0, RC.MODE, P2, P3),
        ("any mode", ALG.NULL, IV, b"", 0, RC.MODE, P2, P3),
        ("any mode", ALG.CMAC, IV, b"", 0, RC.MODE, P2, P3),
        ("cfb", ALG.NULL, IV[:8], b"", 0, RC.SIZE, P3, P4),
        ("any mode", ALG.ECB, IV, b"", 0, RC.SIZE, P3, P4),
        ("any mode", ALG.CBC, IV, b"x", 0, RC.SIZE, P4, P1),
        ("cfb", ALG.NULL, IV, b"", 2, RC.VALUE, P1, P2),
    ],
)
def test_what_a_cipher_refuses(
    pair: Pair,
    name: str,
    mode: int,
    iv: bytes,
    data: bytes,
    decrypt: int,
    rc: int,
    first: int,
    second: int,
) -> None:
    handle = pair.load(KEYS[name])
    positions = {CC.ENCRYPT_DECRYPT: first, CC.ENCRYPT_DECRYPT2: second}
    for code, params in forms(data, mode, iv, decrypt).items():
        assert hex(pair.refuse(code, (handle,), params, 1)) == hex(rc | positions[CC(code)])


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
def test_a_restricted_cipher_is_for_the_tpm(pair: Pair, peer: str) -> None:
    tester: Tester = getattr(pair, peer)
    template = areas.symcipher(areas.OWN | RESTRICTED | DECRYPT | areas.NO_DA)
    handle = areas.loaded_primary(tester, template)
    for code, params in forms(b"", ALG.CFB, IV, 1).items():
        assert tester.run(code, [handle], params, [Password()]).rc == RC.ATTRIBUTES | H1
    answer = tester.run(CC.MAC, [handle], sized(b"") + words(ALG.CMAC), [Password()])
    assert answer.rc == RC.VALUE | P2


def test_data_of_encrypt_decrypt2_can_be_encrypted(tester: Tester) -> None:
    """That is what it is for: its first parameters are data in both directions."""
    loaded = areas.load_external(tester, *cipher_areas(SIGN | DECRYPT))
    assert loaded.handle is not None
    session = tester.start_session(bind=RH.OWNER, aes_bits=128)
    session.attributes |= DECRYPT_SESSION | ENCRYPT
    auths: list[Password | Session] = [Password(), session]
    params = forms(b"message", ALG.CFB, IV, 0)[CC.ENCRYPT_DECRYPT2]
    hidden = tester.run(CC.ENCRYPT_DECRYPT2, [loaded.handle], params, auths)
    plain = tester.run(CC.ENCRYPT_DECRYPT2, [loaded.handle], params, [Password()])
    assert (hidden.rc, hidden.parameters) == (0, plain.parameters)
    params = forms(b"message", ALG.CFB, IV, 0)[CC.ENCRYPT_DECRYPT]
    answer = tester.run(CC.ENCRYPT_DECRYPT, [loaded.handle], params, auths)
    assert answer.rc == RC.ATTRIBUTES | 0x800 | 0x200


HIERARCHIES = [int(RH.OWNER), int(RH.ENDORSEMENT), int(RH.PLATFORM), int(RH.NULL)]


@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512])
def test_hashes_and_their_tickets(pair: Pair, alg: int) -> None:
    """Both have the same proofs: tickets are compared to the bit."""
    for hierarchy in HIERARCHIES:
        for data in (b"", b"abc", b"message", bytes(1024), GENERATED, GENERATED + b"x"):
            params = sized(data) + words(alg) + hierarchy.to_bytes(4)
            ours, theirs = pair.run(CC.HASH, params=params)
            assert ours.sized() == hashlib.new(HASH_NAMES[ALG(alg)], data).digest()
            assert ours.parameters == theirs.parameters
            ticket = ours.parameters[2 + len(ours.sized()) :]
            none = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
            refused = hierarchy == RH.NULL or data.startswith(GENERATED)
            assert (ticket == none) == refused


@pytest.mark.parametrize(
    ("params", "rc"),
    [
        (sized(bytes(1025)) + words(ALG.SHA1) + RH.NULL.to_bytes(4), RC.SIZE | P1),
        (sized(b"") + NONE + RH.NULL.to_bytes(4), RC.HASH | P2),
        (sized(b"") + words(ALG.SHA1) + RH.LOCKOUT.to_bytes(4), RC.VALUE | P3),
    ],
)
def test_what_hash_refuses(pair: Pair, params: bytes, rc: int) -> None:
    assert hex(pair.refuse(CC.HASH, params=params)) == hex(rc)


def test_sha3_is_hashed_where_the_profile_has_it(tester: Tester, sha3_tester: Tester) -> None:
    params = sized(b"message") + words(ALG.SHA3_256) + RH.NULL.to_bytes(4)
    assert sha3_tester.run(CC.HASH, params=params).sized() == hashlib.sha3_256(b"message").digest()
    assert tester.run(CC.HASH, params=params).rc == RC.HASH | P2


@pytest.mark.parametrize("alg", [ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512])
def test_hmac(pair: Pair, alg: int) -> None:
    handle = pair.load(KEYS["hmac"])
    for data in (b"", b"message", bytes(1024)):
        answer = pair.same(CC.HMAC, (handle,), sized(data) + words(alg), 1)
        assert answer.sized() == hmac.digest(HMAC_KEY, data, HASH_NAMES[ALG(alg)])


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("mode", [ALG.CMAC, ALG.NULL])
def test_cmac(pair: Pair, size: int, mode: int) -> None:
    key = bytes(range(size))
    handle = pair.load(cipher_areas(SIGN if mode == ALG.CMAC else SIGN | DECRYPT, mode, key))
    for data in (b"", b"message", bytes(16), bytes(1000)):
        answer = pair.same(CC.MAC, (handle,), sized(data) + words(ALG.CMAC), 1)
        oracle = CMAC(AES(key))
        oracle.update(data)
        assert answer.sized() == oracle.finalize()


@pytest.mark.parametrize(
    ("name", "scheme", "rc"),
    [
        ("rsa", ALG.SHA256, RC.TYPE | H1),
        ("hmac", ALG.NULL, RC.VALUE | P2),
        ("hmac", ALG.CMAC, RC.SCHEME | P2),
        ("hmac with sha256", ALG.SHA1, RC.VALUE | P2),
        ("cfb", ALG.CMAC, RC.VALUE | P2),
        ("cfb", ALG.NULL, RC.SCHEME | P2),
        ("any mode", ALG.SHA256, RC.SCHEME | P2),
        ("data", ALG.SHA256, RC.KEY | H1),
        ("xor", ALG.SHA256, RC.KEY | H1),
        ("hmac", ALG.SM3_256, RC.SYMMETRIC | P2),
    ],
)
def test_what_a_mac_refuses(pair: Pair, name: str, scheme: int, rc: int) -> None:
    """TPM2_MAC and TPM2_MAC_Start refuse the same."""
    handle = pair.load(KEYS[name])
    for code in (CC.MAC, CC.MAC_START):
        assert hex(pair.refuse(code, (handle,), sized(b"") + words(scheme), 1)) == hex(rc)


@pytest.mark.parametrize("peer", ["engine", "swtpm"])
def test_a_restricted_hmac_key_makes_signatures_only(pair: Pair, peer: str) -> None:
    tester: Tester = getattr(pair, peer)
    attributes = areas.OWN | RESTRICTED | SIGN | areas.NO_DA
    handle = areas.loaded_primary(tester, areas.keyedhash(attributes, scheme=HMAC_SHA256))
    for code in (CC.MAC, CC.MAC_START):
        answer = tester.run(code, [handle], sized(b"") + NONE, [Password()])
        assert answer.rc == RC.ATTRIBUTES | H1
