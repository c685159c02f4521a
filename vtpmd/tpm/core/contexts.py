"""Saved contexts: objects, sequences and sessions outside the TPM (Part 1, clause 27).

A context is encrypted and authenticated under the proof of its hierarchy, which commands such as
TPM2_Clear change, and a secret that every TPM Reset changes. A session has at most one valid
context; `ResetState.saved_sessions` says which.
"""

import zlib
from hmac import compare_digest

from .. import snapshot
from ..crypto import symmetric
from ..crypto.hashes import digest_size, hmac
from ..crypto.kdf import kdfa
from ..rc import RC, TpmError
from ..state import LoadedObject, SavedContext, Session, Tpm
from ..wire.base import TPM2B_DIGEST
from ..wire.constants import ALG, RH
from ..wire.context import TPMS_CONTEXT
from ..wire.structure import reader
from . import entities, objects, sessions
from .tickets import CONTEXT_HASH

ORDINARY, SEQUENCE, ST_CLEAR = 0x80000000, 0x80000001, 0x80000002
"""savedHandle of a transient object (Part 2, 14.6.2)."""
_KEY_SIZE, _BLOCK_SIZE = 32, 16
_read_integrity = reader(TPM2B_DIGEST)


def save_object(tpm: Tpm, loaded: LoadedObject) -> TPMS_CONTEXT:
    """The context of a loaded object or sequence, which stays loaded."""
    if loaded.sequence is not None:
        saved_handle = SEQUENCE
    else:
        saved_handle = ST_CLEAR if loaded.st_clear else ORDINARY
    content = _encode(tpm, SavedContext(object=loaded))
    tpm.reset.object_context_counter += 1
    return _protect(tpm, tpm.reset.object_context_counter, saved_handle, loaded.hierarchy, content)


def save_session(tpm: Tpm, session: Session) -> TPMS_CONTEXT:
    """The context of a session, which is no longer loaded."""
    content = _encode(tpm, SavedContext(session=session))
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
    saved = _decode(tpm, _unprotect(tpm, context))
    if saved.session is not None:
        if tpm.reset.saved_sessions.get(context.saved_handle) != context.sequence:
            raise TpmError(RC.HANDLE, at="context")
        sessions.require_slot(tpm)
        del tpm.reset.saved_sessions[context.saved_handle]
        tpm.volatile.sessions[saved.session.handle] = saved.session
        return saved.session.handle
    if not entities.is_enabled(tpm, context.hierarchy):
        raise TpmError(RC.HIERARCHY, at="context")
    assert saved.object is not None
    return objects.add(tpm, saved.object)


def _encode(tpm: Tpm, saved: SavedContext) -> bytes:
    return zlib.compress(snapshot.encode("context", tpm.profile.name, context=saved))


def _decode(tpm: Tpm, content: bytes) -> SavedContext:
    try:
        _, groups = snapshot.decode("context", zlib.decompress(content), context=SavedContext)
    except snapshot.StateError:
        # Ours, but of a newer version that this machine has run since its last reset.
        raise TpmError(RC.INTEGRITY, at="context") from None
    found: SavedContext = groups["context"]
    return found


def _secret(tpm: Tpm, context: TPMS_CONTEXT) -> bytes:
    """hProof and the secret of this TPM Reset: sequence numbers recur, but keys never do."""
    return tpm.reset.context_key + entities.hierarchy(tpm, context.hierarchy).proof


def _identity(context: TPMS_CONTEXT) -> tuple[bytes, bytes]:
    return context.sequence.to_bytes(8), context.saved_handle.to_bytes(4)


def _key_and_iv(tpm: Tpm, context: TPMS_CONTEXT) -> tuple[bytes, bytes]:
    """The key and IV for this context alone (27.3.1)."""
    size = _KEY_SIZE + _BLOCK_SIZE
    derived = kdfa(CONTEXT_HASH, _secret(tpm, context), b"CONTEXT", *_identity(context), size * 8)
    return derived[:_KEY_SIZE], derived[_KEY_SIZE:]


def _integrity(tpm: Tpm, context: TPMS_CONTEXT, encrypted: bytes) -> bytes:
    """contextHMAC (27.3.2)."""
    clear_count = b""
    if context.saved_handle == ST_CLEAR:
        clear_count = tpm.reset.clear_count.to_bytes(4)
    secret = _secret(tpm, context)
    return hmac(CONTEXT_HASH, secret, *_identity(context), clear_count, encrypted)


def _protect(
    tpm: Tpm, sequence: int, saved_handle: int, hierarchy: int, content: bytes
) -> TPMS_CONTEXT:
    context = TPMS_CONTEXT(sequence, saved_handle, hierarchy, b"")
    fingerprint, _ = _identity(context)
    encrypted = symmetric.cfb_encrypt(ALG.AES, *_key_and_iv(tpm, context), fingerprint + content)
    integrity = _integrity(tpm, context, encrypted)
    # As in libtpms, the encrypted part has no size of its own: the blob's end is its end.
    context.context_blob = len(integrity).to_bytes(2) + integrity + encrypted
    return context


def _unprotect(tpm: Tpm, context: TPMS_CONTEXT) -> bytes:
    integrity, start = _read_integrity(context.context_blob, 0, tpm.profile)
    encrypted = context.context_blob[start:]
    fingerprint, _ = _identity(context)
    if len(integrity) != digest_size(CONTEXT_HASH) or len(encrypted) < len(fingerprint):
        raise TpmError(RC.SIZE, at="context")
    if not compare_digest(integrity, _integrity(tpm, context, encrypted)):
        raise TpmError(RC.INTEGRITY, at="context")
    content = symmetric.cfb_decrypt(ALG.AES, *_key_and_iv(tpm, context), encrypted)
    if not content.startswith(fingerprint):
        # Failure mode, as Part 1, 27.3.1 asks: the TPM is broken or attacked.
        raise RuntimeError("a context does not decrypt to what it was")
    return content[len(fingerprint) :]
