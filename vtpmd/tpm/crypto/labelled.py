"""Labelled key encapsulation: seeds shared with the holder of a key (Part 1, 8.4.5.2).

`label` is SECRET, DUPLICATE or IDENTITY without its terminating NUL, which is part of what is
hashed and is added here. A seed is as long as a digest of the hash given.
"""

from typing import Final

from ..rc import RC, TpmError
from . import mlkem, montgomery
from .ecc import Curve, Octets, Point, multiply, private_key, public_point
from .hashes import digest_size
from .kdf import kdfa, kdfe
from .rsa import Entropy, RsaKey, RsaPublicKey
from .rsa_schemes import decrypt_oaep, encrypt_oaep

SECRET: Final = b"SECRET"
"""Salt of a session (16.6.13)."""

DUPLICATE: Final = b"DUPLICATE"
"""Seed of a duplicated object (20.3)."""

IDENTITY: Final = b"IDENTITY"
"""Seed of a credential (21)."""


def rsa_encapsulate(
    key: RsaPublicKey, alg: int, label: bytes, entropy: Entropy
) -> tuple[bytes, bytes]:
    """(seed, ciphertext) (43.10); `alg` is the hash of the key's OAEP scheme, else its nameAlg.

    Raises TPM_RC_HASH if the key is too short for the hash, TPM_RC_VALUE if it is too short for
    the seed.
    """
    seed = entropy(digest_size(alg))
    return seed, encrypt_oaep(key, alg, label + b"\0", seed, entropy)


def rsa_decapsulate(
    key: RsaKey, alg: int, label: bytes, ciphertext: bytes, entropy: Entropy
) -> bytes:
    """The seed under `ciphertext`; raises as `decrypt_oaep`, TPM_RC_VALUE for one too long."""
    seed = decrypt_oaep(key, alg, label + b"\0", ciphertext, entropy)
    if len(seed) > digest_size(alg):
        raise TpmError(RC.VALUE)
    return seed


def ecc_encapsulate(
    curve: Curve, alg: int, label: bytes, recipient: Point, octets: Octets
) -> tuple[bytes, Point]:
    """(seed, ephemeral public point) (44.7); `alg` is the nameAlg of the recipient's key.

    Raises TPM_RC_ECC_POINT if `recipient` is not on the curve.
    """
    d = private_key(curve, octets)
    ephemeral = public_point(curve, d)
    shared = multiply(curve, d, recipient)
    return _ecc_seed(curve, alg, label, shared, ephemeral, recipient), ephemeral


def ecc_decapsulate(
    curve: Curve, alg: int, label: bytes, d: int, recipient: Point, ephemeral: Point
) -> bytes:
    """The seed for the holder of `d`, whose public point is `recipient`.

    Raises TPM_RC_ECC_POINT if `ephemeral` is not on the curve.
    """
    shared = multiply(curve, d, ephemeral)
    return _ecc_seed(curve, alg, label, shared, ephemeral, recipient)


def octets_encapsulate(
    curve: montgomery.MontgomeryCurve, alg: int, label: bytes, recipient: bytes, octets: Octets
) -> tuple[bytes, bytes]:
    """(seed, ephemeral public key) on Curve25519 and Curve448. Raises as `montgomery.exchange`."""
    private = montgomery.private_key(curve, octets)
    ephemeral = montgomery.public_key(curve, private)
    shared = montgomery.exchange(curve, private, recipient)
    return kdfe(alg, shared, label, ephemeral, recipient, digest_size(alg) * 8), ephemeral


def octets_decapsulate(
    curve: montgomery.MontgomeryCurve,
    alg: int,
    label: bytes,
    private: bytes,
    recipient: bytes,
    ephemeral: bytes,
) -> bytes:
    """The seed for the holder of a private key. Raises as `montgomery.exchange`."""
    shared = montgomery.exchange(curve, private, ephemeral)
    return kdfe(alg, shared, label, ephemeral, recipient, digest_size(alg) * 8)


def _ecc_seed(
    curve: Curve, alg: int, label: bytes, shared: Point, ephemeral: Point, recipient: Point
) -> bytes:
    return kdfe(
        alg,
        curve.octets(shared.x),
        label,
        curve.octets(ephemeral.x),
        curve.octets(recipient.x),
        digest_size(alg) * 8,
    )


def mlkem_encapsulate(
    key: mlkem.PublicKey, alg: int, label: bytes, public: bytes
) -> tuple[bytes, bytes]:
    """(seed, ciphertext) (47.4); `alg` is the nameAlg of the key, `public` its octets."""
    shared, ciphertext = mlkem.encapsulate(key)
    return _mlkem_seed(alg, label, shared, ciphertext, public), ciphertext


def mlkem_decapsulate(
    parms: int, alg: int, label: bytes, key: mlkem.PrivateKey, public: bytes, ciphertext: bytes
) -> bytes:
    """The seed for the holder of a private key, whose encapsulation key is `public`.

    Raises TPM_RC_SIZE for a ciphertext of the wrong size.
    """
    shared = mlkem.decapsulate(parms, key, ciphertext)
    return _mlkem_seed(alg, label, shared, ciphertext, public)


def _mlkem_seed(alg: int, label: bytes, shared: bytes, ciphertext: bytes, public: bytes) -> bytes:
    return kdfa(alg, shared, label, ciphertext, public, digest_size(alg) * 8)
