"""Tickets: the TPM's own proofs of what it has verified (Part 2, 10.6).

A ticket is an HMAC under the proof of a hierarchy. The hash is the one that protects contexts,
SHA-512. A NULL Ticket proves nothing, and no check accepts it.
"""

from hmac import compare_digest
from typing import Final

from ..crypto.hashes import digest, hmac
from ..crypto.resumable import ResumableHmac
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.base import TPMT_TK_AUTH, TPMT_TK_CREATION, TPMT_TK_HASHCHECK, TPMT_TK_VERIFIED
from ..wire.constants import ALG, GENERATED_VALUE, RH, ST
from .entities import hierarchy as hierarchy_of

CONTEXT_HASH: Final = ALG.SHA512
"""TPM_PT_CONTEXT_HASH: the hash of tickets and of saved contexts' integrity."""

NULL_HASH_CHECK: Final = TPMT_TK_HASHCHECK(ST.HASHCHECK, RH.NULL, b"")

_GENERATED = GENERATED_VALUE.to_bytes(4)


def is_safe(message: bytes) -> bool:
    """Whether a digest of `message` can't be mistaken for that of a structure made by the TPM."""
    return not message.startswith(_GENERATED)


def is_safe_beginning(data: bytes) -> bool:
    """Whether every message that begins with `data` is safe (Part 3, 17.7)."""
    return len(data) >= len(_GENERATED) and is_safe(data)


def creation(tpm: Tpm, hierarchy: int, name: bytes, creation_hash: bytes) -> TPMT_TK_CREATION:
    """Proof that an object of this Name was created here with these creation data."""
    return TPMT_TK_CREATION(
        ST.CREATION, hierarchy, _prove(tpm, hierarchy, ST.CREATION, name, creation_hash)
    )


def verified(tpm: Tpm, hierarchy: int, digest: bytes, key_name: bytes) -> TPMT_TK_VERIFIED:
    """Proof that a signature over `digest` was verified; a NULL Ticket for TPM_RH_NULL."""
    return _verified(tpm, ST.VERIFIED, hierarchy, digest, key_name, None)


def digest_verified(
    tpm: Tpm, hierarchy: int, hash_alg: int, digest: bytes, key_name: bytes
) -> TPMT_TK_VERIFIED:
    """The same of a digest whose hash is known.

    A NULL Ticket for mu of ML-DSA, which is no digest of the message: `hash_alg` is TPM_ALG_NULL
    then (errata 1, 2.5).
    """
    if hash_alg == ALG.NULL:
        hierarchy = RH.NULL
    return _verified(tpm, ST.DIGEST_VERIFIED, hierarchy, digest, key_name, hash_alg)


def _verified(
    tpm: Tpm, tag: int, hierarchy: int, signed: bytes, key_name: bytes, hash_alg: int | None
) -> TPMT_TK_VERIFIED:
    metadata = b"" if hash_alg is None else hash_alg.to_bytes(2)
    proof = b""
    if hierarchy != RH.NULL:
        proof = _prove(tpm, hierarchy, tag, signed, key_name, metadata)
    return TPMT_TK_VERIFIED(tag, hierarchy, hash_alg, proof)


def running_message(tpm: Tpm, hierarchy: int) -> ResumableHmac | None:
    """What proves a message that is added to it, once `message_verified` ends it.

    None for TPM_RH_NULL.
    """
    if hierarchy == RH.NULL:
        return None
    running = ResumableHmac(CONTEXT_HASH, hierarchy_of(tpm, hierarchy).proof)
    running.update(ST.MESSAGE_VERIFIED.to_bytes(2))
    return running


def message_verified(
    hierarchy: int, running: ResumableHmac | None, key_name: bytes
) -> TPMT_TK_VERIFIED:
    """Proof that a signature over a message was verified; a NULL Ticket for TPM_RH_NULL."""
    if running is None:
        return TPMT_TK_VERIFIED(ST.MESSAGE_VERIFIED, RH.NULL, None, b"")
    running.update(key_name)
    return TPMT_TK_VERIFIED(ST.MESSAGE_VERIFIED, hierarchy, None, running.digest())


def vouching(key: LoadedObject) -> int:
    """TPM_RH_* of the hierarchy whose proof is in tickets about what a key has signed.

    TPM_RH_NULL for a key without a Name (Part 3, 12.3).
    """
    return key.hierarchy if key.public.name_alg != ALG.NULL else RH.NULL


def hash_check(
    tpm: Tpm, hierarchy: int, hash_alg: int, digest: bytes, *, safe: bool
) -> TPMT_TK_HASHCHECK:
    """Proof that this TPM computed a digest, of a safe message.

    The NULL Ticket for an unsafe message and for TPM_RH_NULL.
    """
    if hierarchy == RH.NULL or not safe:
        return NULL_HASH_CHECK
    proof = _prove(tpm, hierarchy, ST.HASHCHECK, hash_alg.to_bytes(2), digest)
    return TPMT_TK_HASHCHECK(ST.HASHCHECK, hierarchy, proof)


def authorization(
    tpm: Tpm,
    tag: int,
    hierarchy: int,
    timeout: int,
    *,
    expires_on_reset: bool,
    cp_hash: bytes,
    policy_ref: bytes,
    auth_name: bytes,
) -> TPMT_TK_AUTH:
    """Proof of an authorization by PolicySigned or PolicySecret, valid until `timeout`.

    `timeout` is in ms of Time, without the bit that marks `expires_on_reset`; 0 for none.
    """
    parts = [cp_hash, policy_ref, auth_name, timeout.to_bytes(8)]
    if timeout:
        parts.append(tpm.volatile.time_epoch.to_bytes(4))
        if expires_on_reset:
            parts.append(tpm.permanent.total_reset_count.to_bytes(8))
    return TPMT_TK_AUTH(tag, hierarchy, _prove(tpm, hierarchy, tag, *parts))


def check_creation(
    tpm: Tpm, ticket: TPMT_TK_CREATION, name: bytes, creation_hash: bytes, at: str
) -> None:
    """Raise RC.TICKET at `at` unless `creation` made this ticket."""
    expected = creation(tpm, ticket.hierarchy, name, creation_hash)
    _require(ticket.digest, expected.digest, at)


def check_verified(
    tpm: Tpm, ticket: TPMT_TK_VERIFIED, message: bytes, name_alg: int, key_name: bytes, at: str
) -> None:
    """Raise RC.TICKET at `at` unless a signature of `message` was verified for this ticket.

    `name_alg`: what the message was hashed with if the ticket does not say it (Part 3, 23.16.2).
    """
    signed = message
    if ticket.tag != ST.MESSAGE_VERIFIED:
        signed = digest(name_alg if ticket.metadata is None else ticket.metadata, message)
    expected = _verified(tpm, ticket.tag, ticket.hierarchy, signed, key_name, ticket.metadata)
    _require(ticket.hmac, expected.hmac, at)


def check_hash_check(
    tpm: Tpm, ticket: TPMT_TK_HASHCHECK, hash_alg: int, digest: bytes, at: str
) -> None:
    """Raise RC.TICKET at `at` unless `hash_check` made this ticket."""
    expected = hash_check(tpm, ticket.hierarchy, hash_alg, digest, safe=True)
    _require(ticket.digest, expected.digest, at)


def check_authorization(
    tpm: Tpm,
    ticket: TPMT_TK_AUTH,
    timeout: int,
    at: str,
    *,
    expires_on_reset: bool,
    cp_hash: bytes,
    policy_ref: bytes,
    auth_name: bytes,
) -> None:
    """Raise RC.TICKET at `at` unless `authorization` made this ticket."""
    expected = authorization(
        tpm,
        ticket.tag,
        ticket.hierarchy,
        timeout,
        expires_on_reset=expires_on_reset,
        cp_hash=cp_hash,
        policy_ref=policy_ref,
        auth_name=auth_name,
    )
    _require(ticket.digest, expected.digest, at)


def _prove(tpm: Tpm, hierarchy: int, tag: int, *parts: bytes) -> bytes:
    return hmac(CONTEXT_HASH, hierarchy_of(tpm, hierarchy).proof, tag.to_bytes(2), *parts)


def _require(given: bytes, expected: bytes, at: str) -> None:
    if not given or not compare_digest(given, expected):
        raise TpmError(RC.TICKET, at=at)
