"""ML-KEM (FIPS 203), with keys in the forms of Part 1, clause 47.

A private key is its seed, d || z. OpenSSL draws the randomness of encapsulation itself.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from ..rc import RC, TpmError
from ..wire.constants import MLKEM_PARMS, MLKEM_PRIVATE_SIZE, MLKEM_SIZES


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """What sets a parameter set apart (Part 2, 11.2.6.1); sizes are in octets."""

    public_size: int
    ciphertext_size: int
    private_key: type[MLKEM768PrivateKey | MLKEM1024PrivateKey]
    """Its class in the cryptography library, and that of its public keys."""
    public_key: type[MLKEM768PublicKey | MLKEM1024PublicKey]


PARAMETER_SETS: dict[int, ParameterSet] = {
    MLKEM_PARMS.MLKEM_768: ParameterSet(
        *MLKEM_SIZES[MLKEM_PARMS.MLKEM_768], MLKEM768PrivateKey, MLKEM768PublicKey
    ),
    MLKEM_PARMS.MLKEM_1024: ParameterSet(
        *MLKEM_SIZES[MLKEM_PARMS.MLKEM_1024], MLKEM1024PrivateKey, MLKEM1024PublicKey
    ),
}
"""Those that are implemented: the library has no ML-KEM-512."""

SEED_SIZE = MLKEM_PRIVATE_SIZE
"""Octets of d || z."""


PrivateKey = MLKEM768PrivateKey | MLKEM1024PrivateKey
PublicKey = MLKEM768PublicKey | MLKEM1024PublicKey


def private_key(parms: int, seed: bytes) -> PrivateKey:
    """The private key of a seed, which takes longer to make than to use."""
    return PARAMETER_SETS[parms].private_key.from_seed_bytes(seed)


def public_key(parms: int, seed: bytes) -> bytes:
    """The encapsulation key of a private key of this parameter set (FIPS 203, Algorithm 19)."""
    return private_key(parms, seed).public_key().public_bytes_raw()


def is_public_key(parms: int, public: bytes) -> bool:
    """Whether it is an encapsulation key, by its size and modulus (FIPS 203, 7.2)."""
    try:
        decoded(parms, public)
    except TpmError:
        return False
    return True


def decoded(parms: int, public: bytes) -> PublicKey:
    """The encapsulation key in these octets. TPM_RC_KEY if there is none."""
    try:
        return PARAMETER_SETS[parms].public_key.from_public_bytes(public)
    except ValueError:
        raise TpmError(RC.KEY) from None


def encapsulate(key: PublicKey) -> tuple[bytes, bytes]:
    """(shared secret, ciphertext)."""
    return key.encapsulate()


def decapsulate(parms: int, key: PrivateKey, ciphertext: bytes) -> bytes:
    """The shared secret; one that nobody else has for a ciphertext that was not made for the key.

    Raises TPM_RC_SIZE for a ciphertext of the wrong size (FIPS 203, 7.3).
    """
    if len(ciphertext) != PARAMETER_SETS[parms].ciphertext_size:
        raise TpmError(RC.SIZE)
    return key.decapsulate(ciphertext)
