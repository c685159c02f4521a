"""EdDSA and HashEdDSA on Curve25519 and Curve448 (RFC 8032; Part 1, 44.3.2 and 44.5).

A private key is the octets of RFC 8032, from which everything secret is derived. A message is known
in whole when it is signed; when a signature is verified, what stands for it is its *challenge*, a
hash of R, the public key and the message, which can be computed in pieces and saved in between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..rc import TpmError
from ..wire.constants import ALG, ECC_CURVE
from .ecc import Octets
from .edwards import CURVES, EdwardsCurve, base_multiple, combination, decode, encode, negative
from .resumable import ResumableHash, ResumableShake256

DIGEST_SIZE: Final = 64
"""Octets of the digest that HashEdDSA signs."""
_CHALLENGE_448: Final = 114

Running = ResumableHash | ResumableShake256


@dataclass(frozen=True, slots=True)
class _Rules:
    """What sets Ed25519 and Ed448 apart (RFC 8032, table 1)."""

    curve: EdwardsCurve
    library: type[Ed25519PrivateKey | Ed448PrivateKey]
    pure: bytes
    """dom2 or dom4 of EdDSA and of HashEdDSA, both without a context."""
    hashed: bytes
    challenge: Callable[[], Running]
    """H."""
    digest: Callable[[], Running]
    """PH."""
    clear: int
    """Bits of a scalar that are CLEAR at its low end; the highest is SET."""
    highest: int
    digest_alg: int
    """PH as a hash of the TPM; TPM_ALG_NULL if it has none."""


def _shake(size: int) -> Callable[[], ResumableShake256]:
    return lambda: ResumableShake256(size)


_RULES: Final[dict[int, _Rules]] = {
    ECC_CURVE.CURVE_25519: _Rules(
        CURVES[ECC_CURVE.CURVE_25519],
        Ed25519PrivateKey,
        b"",
        b"SigEd25519 no Ed25519 collisions\1\0",
        lambda: ResumableHash(ALG.SHA512),
        lambda: ResumableHash(ALG.SHA512),
        3,
        254,
        ALG.SHA512,
    ),
    ECC_CURVE.CURVE_448: _Rules(
        CURVES[ECC_CURVE.CURVE_448],
        Ed448PrivateKey,
        b"SigEd448\0\0",
        b"SigEd448\1\0",
        _shake(_CHALLENGE_448),
        _shake(DIGEST_SIZE),
        2,
        447,
        ALG.NULL,
    ),
}


def private_key(curve_id: int, octets: Octets) -> bytes:
    """A private key (5.1.5 and 5.2.5)."""
    return octets(size(curve_id))


def size(curve_id: int) -> int:
    """Octets of a private key, of a public key, and of R."""
    return CURVES[curve_id].size


def public_key(curve_id: int, private: bytes) -> bytes:
    """The encoded point that belongs to a private key."""
    return _RULES[curve_id].library.from_private_bytes(private).public_key().public_bytes_raw()


def is_public_key(curve_id: int, public: bytes) -> bool:
    """Whether it is an encoded point of the curve."""
    try:
        decode(CURVES[curve_id], public)
    except TpmError:
        return False
    return True


def sign(curve_id: int, private: bytes, message: bytes) -> bytes:
    """The EdDSA signature of a message."""
    return _RULES[curve_id].library.from_private_bytes(private).sign(message)


def sign_digest(curve_id: int, private: bytes, digest: bytes) -> bytes:
    """The HashEdDSA signature of a message with this digest, which the library does not make."""
    rules = _RULES[curve_id]
    curve = rules.curve
    expanded = _digest(rules.challenge, private)
    secret = int.from_bytes(expanded[: curve.size], "little") & (1 << rules.highest) - 1
    secret = secret >> rules.clear << rules.clear | 1 << rules.highest
    prefix = expanded[curve.size :]
    r = _number(_digest(rules.challenge, rules.hashed, prefix, digest)) % curve.n
    point = base_multiple(curve, r)
    challenge = _digest(rules.challenge, rules.hashed, point, public_key(curve_id, private), digest)
    s = (r + _number(challenge) * secret) % curve.n
    return point + s.to_bytes(curve.size, "little")


def running_digest(curve_id: int) -> Running:
    """What becomes the digest that HashEdDSA signs of a message that is added to it."""
    return _RULES[curve_id].digest()


def digest_alg(curve_id: int) -> int:
    """The hash of that digest; TPM_ALG_NULL if it is none that a TPM has."""
    return _RULES[curve_id].digest_alg


def running_challenge(curve_id: int, r: bytes, public: bytes) -> Running:
    """What becomes the challenge of EdDSA when the message is added to it."""
    rules = _RULES[curve_id]
    running = rules.challenge()
    running.update(rules.pure + r + public)
    return running


def challenge_of_digest(curve_id: int, r: bytes, public: bytes, digest: bytes) -> bytes:
    """The challenge of HashEdDSA."""
    rules = _RULES[curve_id]
    return _digest(rules.challenge, rules.hashed, r, public, digest)


def nonce(curve_id: int, signature: bytes) -> bytes:
    """R, the first half of a signature."""
    return signature[: size(curve_id)]


def verify(curve_id: int, public: bytes, signature: bytes, challenge: bytes) -> bool:
    """Whether it is a signature by the holder of a key: [S]B = R + [k]A (5.1.7 and 5.2.7)."""
    curve = CURVES[curve_id]
    r, s = signature[: curve.size], _number(signature[curve.size :])
    if len(signature) != 2 * curve.size or s >= curve.n:
        return False
    try:
        point = negative(decode(curve, public))
    except TpmError:
        return False
    return encode(curve, combination(curve, s, _number(challenge) % curve.n, point)) == r


def _digest(start: Callable[[], Running], *parts: bytes) -> bytes:
    running = start()
    running.update(b"".join(parts))
    return running.digest()


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "little")
