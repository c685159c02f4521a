"""Basic structures of clause 10: digests, buffers, Names, PCRs, tickets."""

from typing import Annotated

from ..rc import RC
from .attributes import SESSION_ATTRIBUTES
from .constants import ST
from .interface import (
    TPM_ALG_ID,
    TPM_CC,
    TPMI_ALG_HASH,
    TPMI_ALG_HASH_NULL,
    TPMI_RH_HIERARCHY,
    TPMI_SH_AUTH_SESSION_PW,
)
from .limits import (
    MAX_2B_BUFFER_SIZE,
    MAX_ALG_LIST_SIZE,
    MAX_CAP_CC,
    MAX_DIGEST_SIZE,
    MAX_EVENT_SIZE,
    MAX_HA_SIZE,
    MAX_KEM_CIPHERTEXT_SIZE,
    MAX_NAME_SIZE,
    MAX_NV_BUFFER_SIZE,
    MAX_POLICY_DIGESTS,
    MAX_SHARED_SECRET_SIZE,
    MAX_SYM_BLOCK_SIZE,
    PCR_SELECT_MAX,
    PCR_SELECT_MIN,
)
from .structure import Digest, ListOf, Nested, PcrSelect, Sized, Structure, UInt, Union

TPM2B_DIGEST = Annotated[bytes, Sized(MAX_DIGEST_SIZE)]
TPM2B_DATA = Annotated[bytes, Sized(MAX_HA_SIZE)]
TPM2B_NONCE = TPM2B_DIGEST
TPM2B_AUTH = Annotated[bytes, Sized(MAX_DIGEST_SIZE, secret=True)]
TPM2B_OPERAND = TPM2B_DIGEST
TPM2B_EVENT = Annotated[bytes, Sized(MAX_EVENT_SIZE)]
TPM2B_MAX_BUFFER = Annotated[bytes, Sized(MAX_2B_BUFFER_SIZE)]
TPM2B_MAX_NV_BUFFER = Annotated[bytes, Sized(MAX_NV_BUFFER_SIZE)]
TPM2B_TIMEOUT = Annotated[bytes, Sized(8)]
TPM2B_IV = Annotated[bytes, Sized(MAX_SYM_BLOCK_SIZE)]
TPM2B_SHARED_SECRET = Annotated[bytes, Sized(MAX_SHARED_SECRET_SIZE, secret=True)]
TPM2B_KEM_CIPHERTEXT = Annotated[bytes, Sized(MAX_KEM_CIPHERTEXT_SIZE)]
TPM2B_NAME = Annotated[bytes, Sized(MAX_NAME_SIZE)]


class TPMT_HA(Structure):
    """A digest and its algorithm (10.2.2)."""

    hash_alg: TPMI_ALG_HASH
    digest: Annotated[bytes, Digest("hash_alg")]


TPMT_HA_NULL = Annotated[TPMT_HA, Nested(TPMT_HA, hash_alg=TPMI_ALG_HASH_NULL)]

PCR_SELECT = Annotated[bytes, PcrSelect(PCR_SELECT_MIN, PCR_SELECT_MAX)]
"""sizeofSelect and pcrSelect of the structures that have both (10.5.1)."""


class TPMS_PCR_SELECT(Structure):
    """Some PCRs (10.5.1)."""

    pcr_select: PCR_SELECT


class TPMS_PCR_SELECTION(Structure):
    """Some PCRs of one bank (10.5.2)."""

    hash: TPMI_ALG_HASH
    pcr_select: PCR_SELECT


class TPMT_TK_CREATION(Structure):
    """Proof that creation data belong to an object (10.6.3)."""

    tag: Annotated[int, UInt(2, extra=(ST.CREATION,), error=RC.TAG)]
    hierarchy: TPMI_RH_HIERARCHY
    digest: TPM2B_DIGEST


class TPMT_TK_VERIFIED(Structure):
    """Proof that a signature was verified (10.6.5)."""

    tag: Annotated[
        int, UInt(2, extra=(ST.VERIFIED, ST.MESSAGE_VERIFIED, ST.DIGEST_VERIFIED), error=RC.TAG)
    ]
    hierarchy: TPMI_RH_HIERARCHY
    metadata: Annotated[
        int | None,
        Union(
            "tag",
            {ST.VERIFIED: None, ST.MESSAGE_VERIFIED: None, ST.DIGEST_VERIFIED: TPMI_ALG_HASH},
        ),
    ]
    hmac: TPM2B_DIGEST


class TPMT_TK_AUTH(Structure):
    """Proof of an authorization with an expiration time (10.6.6)."""

    tag: Annotated[int, UInt(2, extra=(ST.AUTH_SIGNED, ST.AUTH_SECRET), error=RC.TAG)]
    hierarchy: TPMI_RH_HIERARCHY
    digest: TPM2B_DIGEST


class TPMT_TK_HASHCHECK(Structure):
    """Proof that a digest is safe to sign with a restricted key (10.6.7)."""

    tag: Annotated[int, UInt(2, extra=(ST.HASHCHECK,), error=RC.TAG)]
    hierarchy: TPMI_RH_HIERARCHY
    digest: TPM2B_DIGEST


TPML_CC = Annotated[list[int], ListOf(TPM_CC, MAX_CAP_CC)]
TPML_ALG = Annotated[list[int], ListOf(TPM_ALG_ID, MAX_ALG_LIST_SIZE)]
TPML_DIGEST = Annotated[list[bytes], ListOf(TPM2B_DIGEST, MAX_POLICY_DIGESTS, minimum=2)]
TPML_DIGEST_VALUES = Annotated[list[TPMT_HA], ListOf(TPMT_HA, "hash_algs")]
TPML_PCR_SELECTION = Annotated[list[TPMS_PCR_SELECTION], ListOf(TPMS_PCR_SELECTION, "hash_algs")]


class TPMS_AUTH_COMMAND(Structure):
    """One session in the authorization area of a command (10.12.2)."""

    session_handle: TPMI_SH_AUTH_SESSION_PW
    nonce: TPM2B_NONCE
    session_attributes: SESSION_ATTRIBUTES
    hmac: TPM2B_AUTH


class TPMS_AUTH_RESPONSE(Structure):
    """One session in the authorization area of a response (10.12.3)."""

    nonce: TPM2B_NONCE
    session_attributes: SESSION_ATTRIBUTES
    hmac: TPM2B_AUTH
