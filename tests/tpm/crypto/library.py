"""The algorithms as the cryptography library names them, to judge ours by it."""

import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from vtpmd.tpm.wire.constants import ALG, ECC_CURVE

HASHES: dict[int, hashes.HashAlgorithm] = {
    ALG.SHA1: hashes.SHA1(),
    ALG.SHA256: hashes.SHA256(),
    ALG.SHA384: hashes.SHA384(),
    ALG.SHA512: hashes.SHA512(),
    ALG.SHA3_256: hashes.SHA3_256(),
    ALG.SHA3_384: hashes.SHA3_384(),
    ALG.SHA3_512: hashes.SHA3_512(),
}
CURVES: dict[int, ec.EllipticCurve] = {
    ECC_CURVE.NIST_P256: ec.SECP256R1(),
    ECC_CURVE.NIST_P384: ec.SECP384R1(),
    ECC_CURVE.NIST_P521: ec.SECP521R1(),
}
SHA2 = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)


def digest(alg: int, data: bytes) -> bytes:
    running = hashes.Hash(HASHES[alg])
    running.update(data)
    return running.finalize()


entropy = os.urandom
