"""Part 3, chapter 17: Hash, HMAC and Event Sequences."""

from typing import Annotated

from ..command import Auth, ResponseHandle, command
from ..core import macs, pcrs, sequences, signature_sequences, signing, tickets
from ..core.objects import has
from ..profile import MESSAGE_SIGNING_VERSION
from ..rc import RC, TpmError
from ..state import LoadedObject, Pcr, Tpm
from ..wire.algorithms import TPM2B_SIGNATURE_CTX, TPM2B_SIGNATURE_HINT
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import (
    TPM2B_AUTH,
    TPM2B_DIGEST,
    TPM2B_MAX_BUFFER,
    TPML_DIGEST_VALUES,
    TPMT_HA,
    TPMT_TK_HASHCHECK,
)
from ..wire.constants import ALG, CC
from ..wire.interface import (
    TPMI_ALG_HASH_NULL,
    TPMI_ALG_MAC_SCHEME_NULL,
    TPMI_DH_OBJECT,
    TPMI_DH_PCR_NULL,
    TPMI_RH_HIERARCHY,
)
from ..wire.structure import Structure

SequenceHandle = Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER]


class MacStartResponse(Structure):
    sequence_handle: Annotated[TPMI_DH_OBJECT, ResponseHandle]


@command(CC.HMAC_START)
def mac_start(
    tpm: Tpm,
    handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    auth: TPM2B_AUTH,
    in_scheme: TPMI_ALG_MAC_SCHEME_NULL,
) -> MacStartResponse:
    """Start a sequence for an HMAC or CMAC (17.2 and 17.3, which share one code)."""
    scheme = macs.select(tpm.profile, handle, in_scheme)
    return MacStartResponse(sequences.start_mac(tpm, auth, macs.start(handle, scheme)))


class HashSequenceStartResponse(Structure):
    sequence_handle: Annotated[TPMI_DH_OBJECT, ResponseHandle]


@command(CC.HASH_SEQUENCE_START)
def hash_sequence_start(
    tpm: Tpm, /, auth: TPM2B_AUTH, hash_alg: TPMI_ALG_HASH_NULL
) -> HashSequenceStartResponse:
    """Start a hash sequence or, without a hash, an event sequence (17.4)."""
    if hash_alg == ALG.NULL:
        return HashSequenceStartResponse(sequences.start_event(tpm, auth))
    return HashSequenceStartResponse(sequences.start_hash(tpm, auth, hash_alg))


class SignSequenceStartResponse(Structure):
    sequence_handle: Annotated[TPMI_DH_OBJECT, ResponseHandle]


@command(CC.SIGN_SEQUENCE_START, version=MESSAGE_SIGNING_VERSION)
def sign_sequence_start(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    auth: TPM2B_AUTH,
    context: TPM2B_SIGNATURE_CTX,
) -> SignSequenceStartResponse:
    """Start a sequence that signs a message by the scheme of a key (17.5).

    A restricted HMAC key would sign a digest and so has none (20.6). x509sign is looked at here
    and not only at the end (errata 1, 2.2).
    """
    scheme = signature_sequences.scheme_of(key_handle, context)
    restricted = has(key_handle.public, TPMA_OBJECT.RESTRICTED)
    is_mac = scheme.scheme == ALG.HMAC
    if has(key_handle.public, TPMA_OBJECT.X509_SIGN) or (is_mac and restricted):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    handle = signature_sequences.start(tpm, key_handle, auth, context, verifies=False)
    return SignSequenceStartResponse(handle)


class VerifySequenceStartResponse(Structure):
    sequence_handle: Annotated[TPMI_DH_OBJECT, ResponseHandle]


@command(CC.VERIFY_SEQUENCE_START, version=MESSAGE_SIGNING_VERSION)
def verify_sequence_start(
    tpm: Tpm,
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    auth: TPM2B_AUTH,
    hint: TPM2B_SIGNATURE_HINT,
    context: TPM2B_SIGNATURE_CTX,
) -> VerifySequenceStartResponse:
    """Start a sequence that verifies a signature over a message (17.6).

    The hint is R of a signature by EdDSA; others have none. The TPM can't verify signatures of
    anonymous schemes (Part 1, 44.3.3.1).
    """
    scheme = signature_sequences.scheme_of(key_handle, context)
    if signing.is_anonymous(scheme.scheme):
        raise TpmError(RC.SCHEME, at="key_handle")
    if len(hint) != signing.hint_size(key_handle, scheme):
        raise TpmError(RC.SIZE, at="hint")
    handle = signature_sequences.start(tpm, key_handle, auth, context, verifies=True, hint=hint)
    return VerifySequenceStartResponse(handle)


@command(CC.SEQUENCE_UPDATE)
def sequence_update(tpm: Tpm, sequence_handle: SequenceHandle, /, buffer: TPM2B_MAX_BUFFER) -> None:
    """Add data to a sequence (17.7)."""
    sequences.update(sequences.find(sequence_handle), buffer)


class SequenceCompleteResponse(Structure):
    result: TPM2B_DIGEST
    validation: TPMT_TK_HASHCHECK


@command(CC.SEQUENCE_COMPLETE, flushed=True)
def sequence_complete(
    tpm: Tpm,
    sequence_handle: SequenceHandle,
    /,
    buffer: TPM2B_MAX_BUFFER,
    hierarchy: TPMI_RH_HIERARCHY,
) -> SequenceCompleteResponse:
    """Add the last data to a hash or MAC sequence, return its result and end it (17.8)."""
    sequence = sequences.find_unsigned(sequence_handle)
    if sequence.is_event:
        raise TpmError(RC.MODE, at="sequence_handle")
    sequences.update(sequence, buffer)
    sequences.flush(tpm, sequence_handle)
    mac = sequence.hmac or sequence.cmac
    if mac is not None:
        return SequenceCompleteResponse(mac.digest(), tickets.NULL_HASH_CHECK)
    (running,) = sequence.hashes
    result, safe = running.digest(), sequence.ticket_safe
    ticket = tickets.hash_check(tpm, hierarchy, running.alg, result, safe=safe)
    return SequenceCompleteResponse(result, ticket)


class EventSequenceCompleteResponse(Structure):
    results: TPML_DIGEST_VALUES


@command(CC.EVENT_SEQUENCE_COMPLETE, nv=True, flushed=True)
def event_sequence_complete(
    tpm: Tpm,
    pcr_handle: Annotated[Pcr | None, TPMI_DH_PCR_NULL, Auth.USER],
    sequence_handle: SequenceHandle,
    /,
    buffer: TPM2B_MAX_BUFFER,
) -> EventSequenceCompleteResponse:
    """Add the last data to an event sequence, extend a PCR with its digests, and end it (17.9)."""
    sequence = sequences.find_unsigned(sequence_handle)
    if not sequence.is_event:
        raise TpmError(RC.MODE, at="sequence_handle")
    pcrs.require_extendable(tpm, pcr_handle)
    sequences.update(sequence, buffer)
    sequences.flush(tpm, sequence_handle)
    digests = [TPMT_HA(running.alg, running.digest()) for running in sequence.hashes]
    pcrs.extend(tpm, pcr_handle, digests)
    return EventSequenceCompleteResponse(digests)
