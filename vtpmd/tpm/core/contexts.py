"""Saved contexts: objects, sequences and sessions outside the TPM (Part 1, clause 27).

A context is encrypted and authenticated under the proof of its hierarchy, which commands such as
TPM2_Clear change, and a secret that every TPM Reset changes. A session has at most one valid
context; `ResetState.saved_sessions` says which.

The blob is AES-256-GCM where 27.3 has CFB and an HMAC: it is authenticated before anything
decrypted is seen, too. What 27.3.2 puts into the HMAC is in the key or in the associated data, and
the key is that of a hierarchy: nonces, not keys, differ from context to context.
"""

from struct import Struct

from .. import snapshot
from ..crypto import aead
from ..crypto.aead import Aead
from ..crypto.hashes import digest_size
from ..crypto.kdf import kdfa
from ..rc import RC, TpmError
from ..state import LoadedObject, Session, Tpm
from ..wire.base import TPM2B_DIGEST
from ..wire.constants import ALG, HT, RH
from ..wire.context import TPMS_CONTEXT
from ..wire.structure import reader
from . import entities, objects, sessions
from .tickets import CONTEXT_HASH

ORDINARY, SEQUENCE, ST_CLEAR = 0x80000000, 0x80000001, 0x80000002
"""savedHandle of a transient object (Part 2, 14.6.2)."""
_KEY_HASH = ALG.SHA256
"""Of KDFa: it is as strong as the cipher's key, and processors have instructions for it."""
_INTEGRITY_SIZE = digest_size(CONTEXT_HASH)
_INTEGRITY_START = _INTEGRITY_SIZE.to_bytes(2)
_NONCE_SIZE = _INTEGRITY_SIZE - aead.TAG_SIZE
_SMALLEST = 8
"""Octets behind the integrity value; with fewer, libtpms calls the blob too short."""
_ASSOCIATED = Struct(">QII")
_read_integrity = reader(TPM2B_DIGEST)


def save_object(tpm: Tpm, loaded: LoadedObject) -> TPMS_CONTEXT:
    """The context of a loaded object or sequence, which stays loaded."""
    if loaded.sequence is not None:
        saved_handle = SEQUENCE
    else:
        saved_handle = ST_CLEAR if loaded.st_clear else ORDINARY
    content = snapshot.encode("object", tpm.profile.name, loaded)
    tpm.reset.object_context_counter += 1
    return _protect(tpm, tpm.reset.object_context_counter, saved_handle, loaded.hierarchy, content)


def save_session(tpm: Tpm, session: Session) -> TPMS_CONTEXT:
    """The context of a session, which is no longer loaded."""
    content = snapshot.encode("session", tpm.profile.name, session)
    tpm.reset.context_counter += 1
    sequence = tpm.reset.context_counter
    del tpm.volatile.sessions[session.handle]
    tpm.reset.saved_sessions[session.handle] = sequence
    return _protect(tpm, sequence, session.handle, RH.NULL, content)


def load(tpm: Tpm, context: TPMS_CONTEXT) -> int:
    """Load a saved context and return its handle.

    As in libtpms, a context's integrity is checked before anything else, so that a wrong sequence
    or savedHandle is RC.INTEGRITY, not RC.VALUE as in Part 2, 14.6. Raises RC.SIZE and
    RC.INSUFFICIENT too, RC.HIERARCHY, RC.OBJECT_MEMORY, RC.SESSION_MEMORY; RC.HANDLE for a
    session's context that is not its last.
    """
    content = _unprotect(tpm, context)
    try:
        if context.saved_handle >> 24 == HT.TRANSIENT:
            _, loaded = snapshot.decode("object", content, LoadedObject)
            return _load_object(tpm, context, loaded)
        _, session = snapshot.decode("session", content, Session)
        return _load_session(tpm, context, session)
    except snapshot.StateError:
        # Ours, but of a newer version that this machine has run since its last reset.
        raise TpmError(RC.INTEGRITY, at="context") from None


def _load_object(tpm: Tpm, context: TPMS_CONTEXT, loaded: LoadedObject) -> int:
    if not entities.is_enabled(tpm, context.hierarchy):
        raise TpmError(RC.HIERARCHY, at="context")
    return objects.add(tpm, loaded)


def _load_session(tpm: Tpm, context: TPMS_CONTEXT, session: Session) -> int:
    if tpm.reset.saved_sessions.get(context.saved_handle) != context.sequence:
        raise TpmError(RC.HANDLE, at="context")
    sessions.require_slot(tpm)
    del tpm.reset.saved_sessions[context.saved_handle]
    tpm.volatile.sessions[session.handle] = session
    return session.handle


def _cipher(tpm: Tpm, hierarchy: int) -> Aead:
    """What protects the contexts of a hierarchy until the next TPM Reset, kept while it does."""
    secret = tpm.reset.context_key + entities.hierarchy(tpm, hierarchy).proof
    kept = tpm.context_ciphers.get(hierarchy)
    if kept is None or kept[0] != secret:
        key = kdfa(_KEY_HASH, secret, b"CONTEXT", b"", b"", aead.KEY_SIZE * 8)
        tpm.context_ciphers[hierarchy] = kept = secret, Aead(key)
    return kept[1]


def _associated(tpm: Tpm, context: TPMS_CONTEXT) -> bytes:
    """What a context is bound to, beside its hierarchy and this TPM Reset (27.3.2).

    clearCount makes contexts of stClear objects end with a TPM Restart.
    """
    clear_count = tpm.reset.clear_count if context.saved_handle == ST_CLEAR else 0
    return _ASSOCIATED.pack(context.sequence, context.saved_handle, clear_count)


def _protect(
    tpm: Tpm, sequence: int, saved_handle: int, hierarchy: int, content: bytes
) -> TPMS_CONTEXT:
    context = TPMS_CONTEXT(sequence, saved_handle, hierarchy, b"")
    # Sequence numbers recur where a machine goes back to a snapshot: nonces are random.
    nonce = tpm.random(_NONCE_SIZE)
    sealed = _cipher(tpm, hierarchy).seal(nonce, content, _associated(tpm, context))
    encrypted, tag = sealed[: -aead.TAG_SIZE], sealed[-aead.TAG_SIZE :]
    # As in libtpms, an integrity value as long as a digest comes first, and the encrypted part has
    # no size of its own: the blob's end is its end.
    context.context_blob = b"".join((_INTEGRITY_START, nonce, tag, encrypted))
    return context


def _unprotect(tpm: Tpm, context: TPMS_CONTEXT) -> bytes:
    integrity, start = _read_integrity(context.context_blob, 0, tpm.profile)
    encrypted = context.context_blob[start:]
    if len(integrity) != _INTEGRITY_SIZE or len(encrypted) < _SMALLEST:
        raise TpmError(RC.SIZE, at="context")
    nonce, tag = integrity[:_NONCE_SIZE], integrity[_NONCE_SIZE:]
    cipher = _cipher(tpm, context.hierarchy)
    content = cipher.unseal(nonce, encrypted + tag, _associated(tpm, context))
    if content is None:
        raise TpmError(RC.INTEGRITY, at="context")
    return content
