"""ML-DSA and HashML-DSA against an implementation in pure Python and FIPS 204's own steps."""

import hashlib
import os
from typing import cast

import pytest
from cryptography.exceptions import InternalError
from dilithium_py.ml_dsa import (
    HASH_ML_DSA_44_WITH_SHA512,
    HASH_ML_DSA_65_WITH_SHA512,
    HASH_ML_DSA_87_WITH_SHA512,
    ML_DSA_44,
    ML_DSA_65,
    ML_DSA_87,
)

from vtpmd.tpm.crypto import mldsa
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import ALG, MLDSA_PARMS

PURE = {
    MLDSA_PARMS.MLDSA_44: ML_DSA_44,
    MLDSA_PARMS.MLDSA_65: ML_DSA_65,
    MLDSA_PARMS.MLDSA_87: ML_DSA_87,
}
HASHED = {
    MLDSA_PARMS.MLDSA_44: HASH_ML_DSA_44_WITH_SHA512,
    MLDSA_PARMS.MLDSA_65: HASH_ML_DSA_65_WITH_SHA512,
    MLDSA_PARMS.MLDSA_87: HASH_ML_DSA_87_WITH_SHA512,
}
SIZES = {
    MLDSA_PARMS.MLDSA_44: (1312, 2420),
    MLDSA_PARMS.MLDSA_65: (1952, 3309),
    MLDSA_PARMS.MLDSA_87: (2592, 4627),
}
"""Of public keys and signatures, from Part 2, table 208."""
MESSAGE = b"message" * 30
every_set = pytest.mark.parametrize("parms", PURE, ids=lambda parms: str(parms.name))


def mu_of(public: bytes, context: bytes, message: bytes) -> bytes:
    """mu as the engine computes it."""
    running = mldsa.running_mu(public, context)
    running.update(message)
    return running.digest()


def test_every_set_is_tried() -> None:
    assert set(PURE) == set(HASHED) == set(mldsa.PARAMETER_SETS)


@every_set
def test_keys_are_those_of_their_seed(parms: int) -> None:
    seed = os.urandom(32)
    public, _ = PURE[MLDSA_PARMS(parms)].key_derive(seed)
    assert mldsa.public_key(parms, seed) == public
    assert mldsa.is_public_key(parms, public)
    assert not mldsa.is_public_key(parms, public[:-1])
    assert not mldsa.is_public_key(parms, public + b"\0")
    sizes = mldsa.PARAMETER_SETS[parms].public_size, mldsa.PARAMETER_SETS[parms].signature_size
    assert sizes == SIZES[MLDSA_PARMS(parms)]


@every_set
@pytest.mark.parametrize("context", [b"", b"context", bytes(255)])
def test_the_oracle_verifies(parms: int, context: bytes) -> None:
    seed, oracle = os.urandom(32), PURE[MLDSA_PARMS(parms)]
    public = mldsa.public_key(parms, seed)
    signature = mldsa.sign(mldsa.private_key(parms, seed), mu_of(public, context, MESSAGE))
    assert len(signature) == SIZES[MLDSA_PARMS(parms)][1]
    assert oracle.verify(public, MESSAGE, signature, context)
    assert not oracle.verify(public, MESSAGE, signature, b"other")


@every_set
def test_the_oracle_signs(parms: int) -> None:
    oracle = PURE[MLDSA_PARMS(parms)]
    public, private = oracle.keygen()
    signature = oracle.sign(private, MESSAGE, b"context")
    assert mldsa.verify(mldsa.decoded(parms, public), mu_of(public, b"context", MESSAGE), signature)
    assert not mldsa.verify(mldsa.decoded(parms, public), mu_of(public, b"", MESSAGE), signature)
    assert not mldsa.verify(
        mldsa.decoded(parms, public), mu_of(public, b"context", b"x"), signature
    )
    changed = bytes((signature[0] ^ 1,)) + signature[1:]
    for wrong in (b"", signature[:-1], signature + b"\0", changed):
        assert not mldsa.verify(
            mldsa.decoded(parms, public), mu_of(public, b"context", MESSAGE), wrong
        )


@every_set
def test_the_oracle_signs_by_external_mu(parms: int) -> None:
    oracle = PURE[MLDSA_PARMS(parms)]
    public, private = oracle.keygen()
    mu = oracle.prehash_external_mu(public, MESSAGE, b"context")
    assert mu == mu_of(public, b"context", MESSAGE)
    assert mldsa.verify(mldsa.decoded(parms, public), mu, oracle.sign_external_mu(private, mu))


@every_set
def test_the_oracle_verifies_hashed_messages(parms: int) -> None:
    seed, oracle = os.urandom(32), HASHED[MLDSA_PARMS(parms)]
    public = mldsa.public_key(parms, seed)
    digest = hashlib.sha512(MESSAGE).digest()
    mu = mldsa.mu_of_digest(public, b"context", ALG.SHA512, digest)
    signature = mldsa.sign(mldsa.private_key(parms, seed), mu)
    assert oracle.verify(public, MESSAGE, signature, b"context")
    assert not oracle.verify(public, MESSAGE, signature, b"")
    assert not PURE[MLDSA_PARMS(parms)].verify(public, MESSAGE, signature, b"context")


def test_the_hash_is_in_what_is_signed() -> None:
    """FIPS 204, Algorithm 4: 1, the context with its size, the OID in DER, the digest."""
    public = mldsa.public_key(MLDSA_PARMS.MLDSA_44, bytes(32))
    digest = hashlib.sha384(MESSAGE).digest()
    oid = bytes.fromhex("0609608648016503040202")
    tr = hashlib.shake_256(public).digest(64)
    expected = hashlib.shake_256(tr + b"\1\3abc" + oid + digest).digest(64)
    assert mldsa.mu_of_digest(public, b"abc", ALG.SHA384, digest) == expected


def test_a_signature_that_does_not_come_about() -> None:
    """Errata 1, 2.4. FIPS 204 lets OpenSSL give up; no key is known with which it does."""

    class Rejecting:
        def sign_mu(self, mu: bytes) -> bytes:
            raise InternalError("rejected too often", [])

    with pytest.raises(TpmError) as caught:
        mldsa.sign(cast(mldsa.PrivateKey, Rejecting()), bytes(64))
    assert caught.value.code == RC.NO_RESULT
