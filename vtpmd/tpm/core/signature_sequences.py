"""Sequences that sign a message of any length, or verify its signature (Part 1, 29.4.5)."""

from hmac import compare_digest

from ..crypto import eddsa, mldsa
from ..crypto.hashes import digest
from ..crypto.resumable import ResumableHash, ResumableHmac, ResumableShake256
from ..rc import RC, TpmError
from ..state import LoadedObject, Sequence, SignatureSequence, Tpm
from ..wire.algorithms import (
    TPMS_SCHEME_ECDAA,
    TPMT_SIG_SCHEME,
    TPMT_SIGNATURE,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPMT_HA, TPMT_TK_VERIFIED
from ..wire.constants import ALG
from . import sequences, signing, tickets
from .keys import curve_id, encoded
from .objects import has
from .tickets import CONTEXT_HASH

_TAKING_CONTEXT = frozenset({ALG.MLDSA, ALG.HASH_MLDSA})
"""Schemes whose signatures can include a context (Part 2, 11.3.7)."""
_COUNTER_SIZE = 2


def scheme_of(key: LoadedObject, context: bytes) -> TPMT_SIG_SCHEME:
    """The key's own scheme, with the counter that the context of an anonymous one is.

    Raises RC.KEY for a key that can't sign and RC.SCHEME for one without a scheme of its own,
    both at `key_handle`; RC.SIZE at `context` for one that the scheme does not take.
    """
    signing.require_signing_key(key, at="key_handle")
    scheme = signing.own_scheme(key.public)
    if scheme.scheme not in signing.schemes(key.public):
        raise TpmError(RC.SCHEME, at="key_handle")
    if scheme.scheme in _TAKING_CONTEXT:
        return scheme
    if not isinstance(scheme.details, TPMS_SCHEME_ECDAA):
        if context:
            raise TpmError(RC.SIZE, at="context")
        return scheme
    if len(context) != _COUNTER_SIZE:
        raise TpmError(RC.SIZE, at="context")
    count = int.from_bytes(context)
    return TPMT_SIG_SCHEME(scheme.scheme, TPMS_SCHEME_ECDAA(scheme.details.hash_alg, count))


def start(
    tpm: Tpm,
    key: LoadedObject,
    auth: bytes,
    context: bytes,
    *,
    verifies: bool,
    hint: bytes = b"",
) -> int:
    """Start a sequence for a key that `scheme_of` has accepted; returns its handle.

    `hint`: R of the signature by EdDSA that is to be verified.
    Raises RC.HANDLE at `key_handle` for an HMAC key whose sensitive area is not loaded, and
    RC.OBJECT_MEMORY.
    """
    signature = SignatureSequence(_identity(key), verifies, context)
    sequence = Sequence(auth, signature=signature)
    scheme = signing.own_scheme(key.public)
    match scheme.scheme:
        case ALG.MLDSA:
            signature.mu = mldsa.running_mu(encoded(key.public), context)
        case ALG.EDDSA if verifies:
            _keep(sequence, signature, signing.eddsa_challenge(key, hint))
        case ALG.EDDSA:
            pass  # the message is needed twice, and comes in one piece
        case ALG.HASH_EDDSA:
            _keep(sequence, signature, eddsa.running_digest(curve_id(key.public)))
        case ALG.HMAC:
            if key.sensitive is None:
                raise TpmError(RC.HANDLE, at="key_handle")
            hash_alg = signing.hash_of(key, scheme)
            sequence.hmac = ResumableHmac(hash_alg, key.sensitive.sensitive)
        case _:
            sequence.hashes = [ResumableHash(signing.hash_of(key, scheme))]
    if verifies:
        signature.ticket = tickets.running_message(tpm, tickets.vouching(key))
    return sequences.add(tpm, sequence)


def _keep(
    sequence: Sequence, signature: SignatureSequence, running: ResumableHash | ResumableShake256
) -> None:
    if isinstance(running, ResumableHash):
        sequence.hashes = [running]
    else:
        signature.mu = running


def sign(tpm: Tpm, loaded: LoadedObject, key: LoadedObject, rest: bytes) -> TPMT_SIGNATURE:
    """Sign a sequence's message, which `rest` completes, and end the sequence.

    Raises RC.MODE at `sequence_handle`, RC.SIGN_CONTEXT_KEY at `key_handle`, RC.VALUE at `buffer`
    for a message that a restricted key must not sign, RC.ONE_SHOT_SIGNATURE at `sequence_handle`
    for one that should have come in one piece, and as `signing.sign`.
    """
    sequence, signature = _find(loaded, key, verifies=False)
    safe = sequence.ticket_safe if sequence.started else tickets.is_safe(rest)
    if has(key.public, TPMA_OBJECT.RESTRICTED) and not safe:
        raise TpmError(RC.VALUE, at="buffer")
    scheme = scheme_of(key, signature.context)
    if sequence.hmac is not None:
        mac = sequence.hmac.copy()
        mac.update(rest)
        signed = TPMT_SIGNATURE(ALG.HMAC, TPMT_HA(signing.hash_of(key, scheme), mac.digest()))
    elif scheme.scheme == ALG.EDDSA:
        if sequence.started:
            raise TpmError(RC.ONE_SHOT_SIGNATURE, at="sequence_handle")
        signed = signing.sign(tpm, key, scheme, rest)
    else:
        # A copy: a command that fails changes nothing.
        running = _running(sequence, signature).copy()
        running.update(rest)
        signed = signing.sign(tpm, key, scheme, running.digest(), signature.context)
    sequences.flush(tpm, loaded)
    return signed


def verify(
    tpm: Tpm, loaded: LoadedObject, key: LoadedObject, given: TPMT_SIGNATURE
) -> TPMT_TK_VERIFIED:
    """Verify a signature of a sequence's message and end the sequence, if it is genuine.

    Raises RC.MODE at `sequence_handle`, RC.SIGN_CONTEXT_KEY at `key_handle`; RC.SCHEME and
    RC.SIGNATURE at `signature`.
    """
    sequence, signature = _find(loaded, key, verifies=True)
    require_own_scheme(key, given)
    if sequence.hmac is not None:
        assert isinstance(given.signature, TPMT_HA)
        if not compare_digest(sequence.hmac.digest(), given.signature.digest):
            raise TpmError(RC.SIGNATURE, at="signature")
    else:
        message = _running(sequence, signature).digest()
        signing.verify(key, given, message, "signature", signature.context)
    sequences.flush(tpm, loaded)
    return tickets.message_verified(tickets.vouching(key), signature.ticket, key.name)


def require_own_scheme(key: LoadedObject, given: TPMT_SIGNATURE) -> None:
    """Raise RC.SCHEME at `signature` unless it is by the key's scheme and hash (20.4)."""
    own = signing.own_scheme(key.public)
    if given.sig_alg != own.scheme or signing.hash_in(given) != signing.hash_of(key, own):
        raise TpmError(RC.SCHEME, at="signature")


def _find(
    loaded: LoadedObject, key: LoadedObject, *, verifies: bool
) -> tuple[Sequence, SignatureSequence]:
    sequence = sequences.find(loaded)
    signature = sequence.signature
    if signature is None or signature.verifies is not verifies:
        raise TpmError(RC.MODE, at="sequence_handle")
    if not compare_digest(signature.key, _identity(key)):
        raise TpmError(RC.SIGN_CONTEXT_KEY, at="key_handle")
    return sequence, signature


def _identity(key: LoadedObject) -> bytes:
    """A digest that no other key has, not even a symmetric one without a Name."""
    secret = b""
    if key.public.type == ALG.KEYEDHASH and key.sensitive is not None:
        secret = key.sensitive.sensitive
    return digest(CONTEXT_HASH, key.hierarchy.to_bytes(4), key.public.marshal(), secret)


def _running(sequence: Sequence, signature: SignatureSequence) -> ResumableHash | ResumableShake256:
    """What becomes that of the message that is signed."""
    if signature.mu is not None:
        return signature.mu
    (running,) = sequence.hashes
    return running
