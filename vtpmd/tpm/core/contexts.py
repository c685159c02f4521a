"""Saved contexts: objects, sequences and sessions outside of the TPM (Part 1, clause 30).

A context is encrypted and authenticated under keys derived from a proof: that of its hierarchy,
which TPM2_Clear and the like change, or the NULL proof, which every TPM Reset changes. A session
has one valid context at most; which one is kept in `ResetState.saved_sessions`.
"""

import hmac as constant_time
import zlib

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
"""savedHandle of a transient object (Part 2, 14.5)."""
_KEY_SIZE, _BLOCK_SIZE = 32, 16
_LEAST_CONTENT = 8
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
    """Load what was saved; returns its handle.

    Raises TpmError(RC.SIZE), RC.INSUFFICIENT, RC.INTEGRITY, RC.HIERARCHY, RC.OBJECT_MEMORY,
    RC.SESSION_MEMORY; RC.HANDLE for a session's context that is not its last.
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


def _keys(tpm: Tpm, sequence: int, saved_handle: int, hierarchy: int) -> tuple[bytes, bytes, bytes]:
    """Encryption key, IV and authentication key of one context."""
    proof = entities.hierarchy(tpm, hierarchy).proof
    counts = tpm.permanent.total_reset_count.to_bytes(8)
    if saved_handle == ST_CLEAR:
        counts += tpm.reset.clear_count.to_bytes(4)
    bound = sequence.to_bytes(8) + saved_handle.to_bytes(4)
    secret = tpm.reset.context_key + proof
    size = _KEY_SIZE + _BLOCK_SIZE + _KEY_SIZE
    derived = kdfa(CONTEXT_HASH, secret, b"CONTEXT", bound, counts, size * 8)
    iv = derived[_KEY_SIZE : _KEY_SIZE + _BLOCK_SIZE]
    return derived[:_KEY_SIZE], iv, derived[_KEY_SIZE + _BLOCK_SIZE :]


def _protect(
    tpm: Tpm, sequence: int, saved_handle: int, hierarchy: int, content: bytes
) -> TPMS_CONTEXT:
    key, iv, authentication_key = _keys(tpm, sequence, saved_handle, hierarchy)
    encrypted = symmetric.cfb_encrypt(ALG.AES, key, iv, content)
    integrity = hmac(CONTEXT_HASH, authentication_key, encrypted)
    # As in libtpms, the encrypted part has no size of its own: the blob's end is its end.
    blob = len(integrity).to_bytes(2) + integrity + encrypted
    return TPMS_CONTEXT(sequence, saved_handle, hierarchy, blob)


def _unprotect(tpm: Tpm, context: TPMS_CONTEXT) -> bytes:
    blob = context.context_blob
    integrity, start = _read_integrity(blob, 0, tpm.profile)
    encrypted = blob[start:]
    if len(integrity) != digest_size(CONTEXT_HASH) or len(encrypted) < _LEAST_CONTENT:
        raise TpmError(RC.SIZE, at="context")
    key, iv, authentication_key = _keys(
        tpm, context.sequence, context.saved_handle, context.hierarchy
    )
    expected = hmac(CONTEXT_HASH, authentication_key, encrypted)
    if not constant_time.compare_digest(expected, integrity):
        raise TpmError(RC.INTEGRITY, at="context")
    return symmetric.cfb_decrypt(ALG.AES, key, iv, encrypted)
