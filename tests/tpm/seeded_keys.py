"""Keys of ML-KEM and ML-DSA of which tests know the seeds, and what others make of them.

The oracles are implementations in pure Python.
"""

from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65, ML_DSA_87
from kyber_py.ml_kem import ML_KEM_768, ML_KEM_1024

from tests.tpm import areas
from tests.tpm.areas import NO_DA, NONE, USER_AUTH
from tests.tpm.harness import Password, Result, Tester, sized
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, MLKEM_PARMS

KEMS = {MLKEM_PARMS.MLKEM_768: ML_KEM_768, MLKEM_PARMS.MLKEM_1024: ML_KEM_1024}
SIGNERS = {
    MLDSA_PARMS.MLDSA_44: ML_DSA_44,
    MLDSA_PARMS.MLDSA_65: ML_DSA_65,
    MLDSA_PARMS.MLDSA_87: ML_DSA_87,
}
KEM_SEED, SIGNING_SEED = bytes(range(64)), bytes(range(32))
ATTRIBUTES = USER_AUTH | NO_DA
H1, H2 = 0x100, 0x200
P1, P2, P3 = 0x140, 0x240, 0x340
"""Positions of handles and parameters in response codes."""
NULL_TICKET = areas.words(0x8024) + 0x40000007.to_bytes(4) + areas.words(0)


def kem_public(parms: int = MLKEM_PARMS.MLKEM_768, seed: bytes = KEM_SEED) -> bytes:
    """The encapsulation key of a seed."""
    found: bytes = KEMS[MLKEM_PARMS(parms)]._keygen_internal(seed[:32], seed[32:])[0]
    return found


def signing_public(parms: int = MLDSA_PARMS.MLDSA_44, seed: bytes = SIGNING_SEED) -> bytes:
    """The public key of a seed."""
    found: bytes = SIGNERS[MLDSA_PARMS(parms)].key_derive(seed)[0]
    return found


def kem_areas(
    attributes: int = areas.DECRYPT,
    parms: int = MLKEM_PARMS.MLKEM_768,
    *,
    symmetric: bytes = NONE,
    alg: int = ALG.SHA256,
) -> tuple[bytes, bytes]:
    """Public and sensitive area of the ML-KEM key of KEM_SEED."""
    public = areas.mlkem(
        ATTRIBUTES | attributes,
        parms=parms,
        symmetric=symmetric,
        alg=alg,
        unique=kem_public(parms),
    )
    return public, areas.sensitive(ALG.MLKEM, KEM_SEED)


def mldsa_areas(
    attributes: int = areas.SIGN,
    parms: int = MLDSA_PARMS.MLDSA_44,
    *,
    external_mu: bool = False,
    alg: int = ALG.SHA256,
) -> tuple[bytes, bytes]:
    """Public and sensitive area of the ML-DSA key of SIGNING_SEED."""
    public = areas.mldsa(
        ATTRIBUTES | attributes,
        parms=parms,
        external_mu=external_mu,
        alg=alg,
        unique=signing_public(parms),
    )
    return public, areas.sensitive(ALG.MLDSA, SIGNING_SEED)


def hash_mldsa_areas(
    attributes: int = areas.SIGN, *, hash_alg: int = ALG.SHA256
) -> tuple[bytes, bytes]:
    """Public and sensitive area of the HashML-DSA key of SIGNING_SEED."""
    public = areas.hash_mldsa(ATTRIBUTES | attributes, hash_alg=hash_alg, unique=signing_public())
    return public, areas.sensitive(ALG.HASH_MLDSA, SIGNING_SEED)


def start_signing(tester: Tester, key: int, *, auth: bytes = b"", context: bytes = b"") -> Result:
    """TPM2_SignSequenceStart."""
    return tester.run(CC.SIGN_SEQUENCE_START, [key], sized(auth) + sized(context))


def start_verifying(
    tester: Tester, key: int, *, auth: bytes = b"", hint: bytes = b"", context: bytes = b""
) -> Result:
    """TPM2_VerifySequenceStart."""
    parameters = sized(auth) + sized(hint) + sized(context)
    return tester.run(CC.VERIFY_SEQUENCE_START, [key], parameters)


def update(tester: Tester, sequence: int, *pieces: bytes) -> None:
    """TPM2_SequenceUpdate, which has to succeed."""
    for piece in pieces:
        answer = tester.run(CC.SEQUENCE_UPDATE, [sequence], sized(piece), [Password()])
        assert answer.rc == 0, hex(answer.rc)


def complete_signing(tester: Tester, sequence: int, key: int, rest: bytes = b"") -> Result:
    """TPM2_SignSequenceComplete."""
    auths = [Password(), Password()]
    return tester.run(CC.SIGN_SEQUENCE_COMPLETE, [sequence, key], sized(rest), auths)


def complete_verifying(tester: Tester, sequence: int, key: int, signature: bytes) -> Result:
    """TPM2_VerifySequenceComplete."""
    return tester.run(CC.VERIFY_SEQUENCE_COMPLETE, [sequence, key], signature, [Password()])


def signed(tester: Tester, key: int, message: bytes, context: bytes = b"") -> bytes:
    """The TPMT_SIGNATURE of a message, signed in one sequence."""
    started = start_signing(tester, key, context=context)
    assert started.handle is not None, hex(started.rc)
    answer = complete_signing(tester, started.handle, key, message)
    assert answer.rc == 0, hex(answer.rc)
    return answer.parameters


def verified(
    tester: Tester, key: int, message: bytes, signature: bytes, context: bytes = b""
) -> Result:
    """The answer of TPM2_VerifySequenceComplete; a sequence that is left over is flushed."""
    started = start_verifying(tester, key, context=context)
    assert started.handle is not None, hex(started.rc)
    update(tester, started.handle, message)
    answer = complete_verifying(tester, started.handle, key, signature)
    if answer.rc:
        areas.flush(tester, started.handle)
    return answer


def sign_digest(
    tester: Tester,
    key: int,
    digest: bytes,
    *,
    context: bytes = b"",
    ticket: bytes = NULL_TICKET,
) -> Result:
    """TPM2_SignDigest."""
    parameters = sized(context) + sized(digest) + ticket
    return tester.run(CC.SIGN_DIGEST, [key], parameters, [Password()])


def verify_digest(
    tester: Tester, key: int, digest: bytes, signature: bytes, *, context: bytes = b""
) -> Result:
    """TPM2_VerifyDigestSignature."""
    parameters = sized(context) + sized(digest) + signature
    return tester.run(CC.VERIFY_DIGEST_SIGNATURE, [key], parameters)
