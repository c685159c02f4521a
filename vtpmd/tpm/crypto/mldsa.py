"""ML-DSA and HashML-DSA (FIPS 204), with keys in the forms of Part 1, clause 46.

A private key is its seed, xi. Everything is signed by its message representative, mu, which the TPM
can compute in pieces and save in between.
"""

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InternalError, InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)

from ..rc import RC, TpmError
from ..wire.constants import MLDSA_PARMS, MLDSA_PRIVATE_SIZE, MLDSA_SIZES
from .hashes import HASHES
from .resumable import SHAKE256_SIZE, ResumableShake256


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """What sets a parameter set apart (Part 2, 11.2.7.1); sizes are in octets."""

    public_size: int
    signature_size: int
    private_key: type[MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey]
    """Its class in the cryptography library, and that of its public keys."""
    public_key: type[MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey]


PARAMETER_SETS: dict[int, ParameterSet] = {
    MLDSA_PARMS.MLDSA_44: ParameterSet(
        *MLDSA_SIZES[MLDSA_PARMS.MLDSA_44], MLDSA44PrivateKey, MLDSA44PublicKey
    ),
    MLDSA_PARMS.MLDSA_65: ParameterSet(
        *MLDSA_SIZES[MLDSA_PARMS.MLDSA_65], MLDSA65PrivateKey, MLDSA65PublicKey
    ),
    MLDSA_PARMS.MLDSA_87: ParameterSet(
        *MLDSA_SIZES[MLDSA_PARMS.MLDSA_87], MLDSA87PrivateKey, MLDSA87PublicKey
    ),
}
"""Those that are implemented."""

SEED_SIZE = MLDSA_PRIVATE_SIZE
"""Octets of xi."""
MU_SIZE = SHAKE256_SIZE
"""Octets of mu."""
_PURE, _HASHED = b"\0", b"\1"


PrivateKey = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey
PublicKey = MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey


def private_key(parms: int, seed: bytes) -> PrivateKey:
    """The private key of a seed."""
    return PARAMETER_SETS[parms].private_key.from_seed_bytes(seed)


def public_key(parms: int, seed: bytes) -> bytes:
    """The public key of a private key of this parameter set (FIPS 204, Algorithm 22)."""
    return private_key(parms, seed).public_key().public_bytes_raw()


def decoded(parms: int, public: bytes) -> PublicKey:
    """The public key in these octets, of which there are the right number."""
    return PARAMETER_SETS[parms].public_key.from_public_bytes(public)


def is_public_key(parms: int, public: bytes) -> bool:
    """Whether it can be a public key: all octets of the right number encode one."""
    return len(public) == PARAMETER_SETS[parms].public_size


def running_mu(public: bytes, context: bytes) -> ResumableShake256:
    """What becomes mu of a message when that is added to it (FIPS 204, Algorithms 2 and 7)."""
    return _beginning_of_mu(public, _PURE, context)


def mu_of_digest(public: bytes, context: bytes, hash_alg: int, digest: bytes) -> bytes:
    """mu of a message with this digest in HashML-DSA (FIPS 204, Algorithm 4)."""
    running = _beginning_of_mu(public, _HASHED, context)
    running.update(HASHES[hash_alg].oid + digest)
    return running.digest()


def _beginning_of_mu(public: bytes, domain: bytes, context: bytes) -> ResumableShake256:
    running = ResumableShake256()
    running.update(hashlib.shake_256(public).digest(MU_SIZE))
    running.update(domain + len(context).to_bytes(1) + context)
    return running


def sign(key: PrivateKey, mu: bytes) -> bytes:
    """A signature by a message representative.

    TPM_RC_NO_RESULT if its random numbers are rejected too often (errata 1, 2.4).
    """
    try:
        return key.sign_mu(mu)
    except InternalError:
        raise TpmError(RC.NO_RESULT) from None


def verify(key: PublicKey, mu: bytes, signature: bytes) -> bool:
    """Whether it is a signature by the holder of a key."""
    try:
        key.verify_mu(signature, mu)
    except InvalidSignature:
        return False
    return True
