"""Whole objects made outside of a TPM: public and sensitive areas that belong together."""

import hashlib
import hmac
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NONE, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.harness import HASH_NAMES
from vtpmd.tpm.wire.constants import ALG

EXTERNAL_KEY = USER_AUTH | areas.ORIGIN


@dataclass(frozen=True)
class Made:
    """The octets of TPMT_PUBLIC and TPMT_SENSITIVE."""

    public: bytes
    sensitive: bytes


@cache
def rsa_primes() -> tuple[int, int]:
    """The primes of one RSA-2048 key."""
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    return numbers.p, numbers.q


@cache
def p256_key() -> tuple[int, int, int]:
    """(d, x, y) of one P-256 key."""
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    return numbers.private_value, numbers.public_numbers.x, numbers.public_numbers.y


def rsa_key(attributes: int = EXTERNAL_KEY | SIGN, *, seed: bytes = b"", auth: bytes = b"") -> Made:
    """An RSA key."""
    p, q = rsa_primes()
    symmetric = areas.AES_128_CFB if attributes & STORAGE == STORAGE else NONE
    public = areas.rsa(attributes, symmetric=symmetric, unique=(p * q).to_bytes(256))
    return Made(public, areas.sensitive(ALG.RSA, p.to_bytes(128), seed=seed, auth=auth))


def ecc_key(attributes: int = EXTERNAL_KEY | SIGN, *, seed: bytes = b"", auth: bytes = b"") -> Made:
    """A P-256 key."""
    d, x, y = p256_key()
    symmetric = areas.AES_128_CFB if attributes & STORAGE == STORAGE else NONE
    public = areas.ecc(attributes, symmetric=symmetric, x=x.to_bytes(32), y=y.to_bytes(32))
    return Made(public, areas.sensitive(ALG.ECC, d.to_bytes(32), seed=seed, auth=auth))


def keyedhash(
    attributes: int = USER_AUTH,
    secret: bytes = b"data",
    *,
    alg: int = ALG.SHA256,
    scheme: bytes = NONE,
    auth: bytes = b"",
    seed: bytes | None = None,
    policy: bytes = b"",
) -> Made:
    """A data object or an HMAC key."""
    if seed is None:
        seed = bytes(range(len(hashlib.new(HASH_NAMES[ALG(alg)]).digest())))
    unique = _unique(attributes, alg, seed, secret)
    public = areas.keyedhash(attributes, alg=alg, scheme=scheme, unique=unique, policy=policy)
    return Made(public, areas.sensitive(ALG.KEYEDHASH, secret, seed=seed, auth=auth))


def symcipher(
    attributes: int = USER_AUTH | DECRYPT, key: bytes = bytes(range(16)), *, auth: bytes = b""
) -> Made:
    """An AES key."""
    seed = bytes(range(32))
    symmetric = words(ALG.AES, len(key) * 8, ALG.CFB)
    unique = _unique(attributes, ALG.SHA256, seed, key)
    public = areas.symcipher(attributes, symmetric=symmetric, unique=unique)
    return Made(public, areas.sensitive(ALG.SYMCIPHER, key, seed=seed, auth=auth))


def _unique(attributes: int, alg: int, seed: bytes, secret: bytes) -> bytes:
    name = HASH_NAMES[ALG(alg)]
    if attributes & STORAGE == STORAGE:
        return hmac.digest(seed, secret, name)
    return hashlib.new(name, seed + secret).digest()


def public_numbers(d: int) -> ec.EllipticCurvePublicNumbers:
    """[d]G on P-256."""
    return ec.derive_private_key(d, ec.SECP256R1()).public_key().public_numbers()
