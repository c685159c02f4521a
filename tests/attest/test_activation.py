"""Challenges, opened by hand with the EK's private key; and what is kept of them."""

import hashlib
import hmac
import json
import struct
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from tests.attest import authority, made
from tests.attest.authority import NOW
from vtpmd.attest.activation import new_challenge, prove
from vtpmd.attest.errors import CertificateError, MalformedError, NotProvenError
from vtpmd.attest.records import Challenge, Proof
from vtpmd.attest.trust import AttestationKey

ROOT = authority.root()
AK = made.public(made.key("p256", 1))
HERE = Path(__file__).parent
_SPECIFICS: dict[str, tuple[Any, int]] = {
    "rsa": (hashes.SHA256(), 128),
    "p256": (hashes.SHA256(), 128),
    "p384": (hashes.SHA384(), 256),
}


def ek(kind: str) -> Any:
    return made.key(kind, 7)


@cache
def certificate(kind: str) -> bytes:
    return authority.leaf(ROOT, ek(kind).public_key())


def challenged(kind: str = "rsa", ak: bytes = AK) -> tuple[Challenge, bytes]:
    return new_challenge(certificate(kind), ROOT.pem, ak, now=NOW)


def taken(octets: bytes) -> tuple[bytes, bytes]:
    size = int.from_bytes(octets[:2])
    return octets[2 : 2 + size], octets[2 + size :]


def opened(kind: str, credential: bytes, name: bytes) -> bytes:
    """TPM2_ActivateCredential by hand (Part 1, 21), from tpm2-tools' file."""
    assert credential[:8] == bytes.fromhex("badcc0de00000001")
    blob, rest = taken(credential[8:])
    encrypted, rest = taken(rest)
    assert rest == b""
    hash_, bits = _SPECIFICS[kind]
    seed = _seed(ek(kind), encrypted, hash_)
    integrity, identity = taken(blob)
    mac_key = _kdfa(hash_, seed, b"INTEGRITY", b"", 8 * hash_.digest_size)
    assert hmac.digest(mac_key, identity + name, hash_.name) == integrity
    key = _kdfa(hash_, seed, b"STORAGE", name, bits)
    plain = Cipher(AES(key), CFB(bytes(16))).decryptor().update(identity)
    secret, rest = taken(plain)
    assert rest == b""
    return secret


def _seed(key: Any, encrypted: bytes, hash_: Any) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        oaep = padding.OAEP(padding.MGF1(hash_), hash_, b"IDENTITY\0")
        return key.decrypt(encrypted, oaep)
    x, rest = taken(encrypted)
    y, rest = taken(rest)
    assert rest == b""
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), key.curve)
    shared = key.exchange(ec.ECDH(), point.public_key())
    ours = key.public_key().public_numbers().x.to_bytes(len(x))
    kdfe = struct.pack(">I", 1) + shared + b"IDENTITY\0" + x + ours
    return hashlib.new(hash_.name, kdfe).digest()


def _kdfa(hash_: Any, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    block = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.digest(key, block, hash_.name)[: bits // 8]


@pytest.mark.parametrize("kind", _SPECIFICS)
def test_the_ek_opens_it_and_that_is_the_proof(kind: str) -> None:
    challenge, credential = challenged(kind)
    secret = opened(kind, credential, made.name(AK))
    assert len(secret) == 32
    assert secret.hex() not in challenge.encode().decode()
    proof = prove(Challenge.decode(challenge.encode()), secret, datetime(2026, 6, 1, tzinfo=UTC))
    assert proof.proven == "2026-06-01T00:00:00Z"
    assert proof.ak_name == made.name(AK).hex()
    assert proof.ek_certificate == hashlib.sha256(certificate(kind)).hexdigest()
    ak = AttestationKey.read(proof.encode())
    assert ak.known_name == ak.key.name == made.name(AK)


def test_each_has_a_secret_of_its_own() -> None:
    first, second = challenged(), challenged()
    assert first[0].secret_sha256 != second[0].secret_sha256
    assert first[1] != second[1]


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + b"\0", lambda s: bytes(32)])
def test_a_wrong_answer(change: Any) -> None:
    challenge, credential = challenged()
    with pytest.raises(NotProvenError):
        prove(challenge, change(opened("rsa", credential, made.name(AK))))
    with pytest.raises(NotProvenError):
        prove(challenge, b"")


@pytest.mark.parametrize(
    "attributes", [made.AK & ~made.RESTRICTED, made.AK | made.DECRYPT, made.AK & ~made.FIXED_TPM]
)
def test_no_challenge_for_a_key_that_is_no_ak(attributes: int) -> None:
    with pytest.raises(NotProvenError, match="lacks"):
        challenged(ak=made.public(made.key(), attributes))


def test_no_challenge_for_an_ek_that_is_not_certified() -> None:
    with pytest.raises(CertificateError):
        new_challenge(certificate("rsa"), authority.root("other").pem, AK, now=NOW)
    with pytest.raises(MalformedError):
        new_challenge(b"x", ROOT.pem, AK, now=NOW)
    with pytest.raises(MalformedError):
        new_challenge(certificate("rsa"), ROOT.pem, made.pem(made.key()), now=NOW)


GOLDEN = {"challenge-1.json": Challenge, "ak-1.json": Proof}


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_kept_is_read_for_ever(name: str) -> None:
    octets = (HERE / "samples" / name).read_bytes()
    record = GOLDEN[name].decode(octets)
    assert record.encode() == octets
    more = json.dumps(json.loads(octets) | {"newer": [1]}).encode()
    assert GOLDEN[name].decode(more) == record


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_refused_of_what_is_kept(name: str) -> None:
    content = json.loads((HERE / "samples" / name).read_bytes())
    (version, *_) = content
    for change in (
        {version: 2},
        {version: "1"},
        {"ak_name": "00"},
        {"ak_name": "zz"},
        {"ak_public": ""},
        {"ak_public": 1},
        {"ek_certificate": None},
    ):
        with pytest.raises(MalformedError):
            GOLDEN[name].decode(json.dumps(content | change).encode())
    for field in content:
        without = {each: value for each, value in content.items() if each != field}
        with pytest.raises(MalformedError):
            GOLDEN[name].decode(json.dumps(without).encode())
    for octets in (b"", b"{", b"[]", b"1", b"[" * 100_000, b"\xff"):
        with pytest.raises(MalformedError):
            GOLDEN[name].decode(octets)
