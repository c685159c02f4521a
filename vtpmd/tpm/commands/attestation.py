"""Part 3, chapter 18: Attestation Commands; and TPM2_NV_Certify (31.16), which is one."""

from typing import Annotated

from ..command import Auth, command
from ..core import attestation, audit, nv, pcrs, signing, tickets, x509
from ..core.clock import time_info
from ..crypto.hashes import digest
from ..rc import RC, TpmError
from ..state import Hierarchy, LoadedObject, NvIndex, Session, Tpm
from ..wire.algorithms import TPMT_SIG_SCHEME_NULL, TPMT_SIGNATURE
from ..wire.attest import (
    TPM2B_ATTEST,
    TPMS_CERTIFY_INFO,
    TPMS_COMMAND_AUDIT_INFO,
    TPMS_CREATION_INFO,
    TPMS_NV_CERTIFY_INFO,
    TPMS_NV_DIGEST_CERTIFY_INFO,
    TPMS_QUOTE_INFO,
    TPMS_SESSION_AUDIT_INFO,
    TPMS_TIME_ATTEST_INFO,
)
from ..wire.base import (
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_MAX_BUFFER,
    TPML_PCR_SELECTION,
    TPMT_TK_CREATION,
)
from ..wire.constants import ALG, CC, ST
from ..wire.interface import (
    TPMI_DH_OBJECT,
    TPMI_DH_OBJECT_NULL,
    TPMI_RH_ENDORSEMENT,
    TPMI_RH_NV_AUTH,
    TPMI_RH_NV_INDEX,
    TPMI_SH_HMAC,
    UINT16,
)
from ..wire.limits import MAX_NV_BUFFER_SIZE
from ..wire.structure import Structure

Signer = Annotated[LoadedObject | None, TPMI_DH_OBJECT_NULL, Auth.USER]
PrivacyAdmin = Annotated[Hierarchy, TPMI_RH_ENDORSEMENT, Auth.USER]


class CertifyResponse(Structure):
    certify_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.CERTIFY)
def certify(
    tpm: Tpm,
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.ADMIN],
    sign_handle: Signer,
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
) -> CertifyResponse:
    """Attest that an object is loaded (18.2)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    anonymous = signing.is_anonymous(scheme.scheme)
    qualified_name = b"" if anonymous else object_handle.qualified_name
    info = TPMS_CERTIFY_INFO(object_handle.name, qualified_name)
    return CertifyResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, ST.ATTEST_CERTIFY, info)
    )


class CertifyCreationResponse(Structure):
    certify_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.CERTIFY_CREATION)
def certify_creation(
    tpm: Tpm,
    sign_handle: Signer,
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    qualifying_data: TPM2B_DATA,
    creation_hash: TPM2B_DIGEST,
    in_scheme: TPMT_SIG_SCHEME_NULL,
    creation_ticket: TPMT_TK_CREATION,
) -> CertifyCreationResponse:
    """Attest the creation data with which this TPM created an object (18.3)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    name = object_handle.name
    tickets.check_creation(tpm, creation_ticket, name, creation_hash, at="creation_ticket")
    info = TPMS_CREATION_INFO(name, creation_hash)
    return CertifyCreationResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, ST.ATTEST_CREATION, info)
    )


class QuoteResponse(Structure):
    quoted: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.QUOTE)
def quote(
    tpm: Tpm,
    sign_handle: Signer,
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
    pcr_select: TPML_PCR_SELECTION,
) -> QuoteResponse:
    """Attest the values of PCRs (18.4); without a key, hashed as `in_scheme` says."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    hash_alg = attestation.content_hash(sign_handle, scheme, in_scheme)
    pcr_digest, selection = pcrs.selection_digest(tpm, hash_alg, pcr_select)
    info = TPMS_QUOTE_INFO(selection, pcr_digest)
    return QuoteResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, ST.ATTEST_QUOTE, info)
    )


class GetSessionAuditDigestResponse(Structure):
    audit_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.GET_SESSION_AUDIT_DIGEST)
def get_session_audit_digest(
    tpm: Tpm,
    privacy_admin_handle: PrivacyAdmin,
    sign_handle: Signer,
    session_handle: Annotated[Session, TPMI_SH_HMAC],
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
) -> GetSessionAuditDigestResponse:
    """Attest the audit digest of a session (18.5)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    if not session_handle.is_audit:
        raise TpmError(RC.TYPE, at="session_handle")
    exclusive = int(audit.is_exclusive(tpm, session_handle))
    info = TPMS_SESSION_AUDIT_INFO(exclusive, session_handle.audit_digest)
    kind = ST.ATTEST_SESSION_AUDIT
    return GetSessionAuditDigestResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, kind, info)
    )


class GetCommandAuditDigestResponse(Structure):
    audit_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.GET_COMMAND_AUDIT_DIGEST, nv=True)
def get_command_audit_digest(
    tpm: Tpm,
    privacy_handle: PrivacyAdmin,
    sign_handle: Signer,
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
) -> GetCommandAuditDigestResponse:
    """Attest the digest of the audited commands, and begin a new one if it is signed (18.6)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    info = TPMS_COMMAND_AUDIT_INFO(
        tpm.permanent.audit_counter,
        tpm.permanent.audit_hash,
        tpm.reset.command_audit_digest,
        audit.command_digest(tpm),
    )
    kind = ST.ATTEST_COMMAND_AUDIT
    attested = attestation.attest(tpm, sign_handle, scheme, qualifying_data, kind, info)
    if sign_handle is not None:
        tpm.reset.command_audit_digest = b""
    return GetCommandAuditDigestResponse(*attested)


class GetTimeResponse(Structure):
    time_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.GET_TIME)
def get_time(
    tpm: Tpm,
    privacy_admin_handle: PrivacyAdmin,
    sign_handle: Signer,
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
) -> GetTimeResponse:
    """Attest Time and Clock, with counters as they are (18.7)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    info = TPMS_TIME_ATTEST_INFO(time_info(tpm), attestation.firmware_version())
    return GetTimeResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, ST.ATTEST_TIME, info)
    )


class CertifyX509Response(Structure):
    added_to_certificate: TPM2B_MAX_BUFFER
    tbs_digest: TPM2B_DIGEST
    signature: TPMT_SIGNATURE


@command(CC.CERTIFY_X509)
def certify_x509(
    tpm: Tpm,
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.ADMIN],
    sign_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    reserved: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
    partial_certificate: TPM2B_MAX_BUFFER,
) -> CertifyX509Response:
    """Complete and sign an X.509 certificate for a loaded key (18.8)."""
    if reserved:
        raise TpmError(RC.SIZE, at="reserved")
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    signing.require_deprecated(sign_handle, at="sign_handle")
    subject_key = x509.public_key_info(object_handle.public, at="object_handle")
    certificate = x509.read_partial(partial_certificate, at="partial_certificate")
    algorithm = certificate.signature_algorithm
    if algorithm is None:
        algorithm = x509.signature_algorithm(sign_handle, scheme, at="sign_handle")
    x509.check_extensions(certificate, object_handle.public, at="partial_certificate")
    if sign_handle.public.name_alg == ALG.NULL:
        raise TpmError(RC.HASH, at="sign_handle")
    added, tbs = x509.complete(certificate, algorithm, subject_key, object_handle, sign_handle)
    tbs_digest = digest(signing.hash_of(sign_handle, scheme), tbs)
    signature = signing.sign(tpm, sign_handle, scheme, tbs_digest)
    return CertifyX509Response(added, tbs_digest, signature)


class NvCertifyResponse(Structure):
    certify_info: TPM2B_ATTEST
    signature: TPMT_SIGNATURE


@command(CC.NV_CERTIFY)
def nv_certify(
    tpm: Tpm,
    sign_handle: Signer,
    auth_handle: Annotated[Hierarchy | NvIndex, TPMI_RH_NV_AUTH, Auth.USER],
    nv_index: Annotated[NvIndex, TPMI_RH_NV_INDEX],
    /,
    qualifying_data: TPM2B_DATA,
    in_scheme: TPMT_SIG_SCHEME_NULL,
    size: UINT16,
    offset: UINT16,
) -> NvCertifyResponse:
    """Attest a part of an index, or with size and offset zero a digest of all of it (31.16)."""
    scheme = attestation.choose_scheme(sign_handle, in_scheme)
    nv.check_read(auth_handle, nv_index)
    contents = nv.read_range(nv_index, size, offset)
    if size > MAX_NV_BUFFER_SIZE:
        raise TpmError(RC.VALUE, at="size")
    info: TPMS_NV_CERTIFY_INFO | TPMS_NV_DIGEST_CERTIFY_INFO
    if size or offset:
        kind, info = ST.ATTEST_NV, TPMS_NV_CERTIFY_INFO(nv_index.name, offset, contents)
    else:
        hash_alg = attestation.content_hash(sign_handle, scheme, in_scheme)
        nv_digest = digest(hash_alg, nv_index.data)
        kind, info = ST.ATTEST_NV_DIGEST, TPMS_NV_DIGEST_CERTIFY_INFO(nv_index.name, nv_digest)
    return NvCertifyResponse(
        *attestation.attest(tpm, sign_handle, scheme, qualifying_data, kind, info)
    )
