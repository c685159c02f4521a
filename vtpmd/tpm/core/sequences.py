"""Hash, MAC and event sequences: objects that are given data in pieces (Part 1, 29.4)."""

from ..crypto.cmac import Cmac
from ..crypto.resumable import ResumableHash, ResumableHmac
from ..rc import RC, TpmError
from ..state import LoadedObject, Sequence, Tpm
from ..wire.algorithms import TPMT_KEYEDHASH_SCHEME
from ..wire.attributes import TPMA_OBJECT
from ..wire.constants import ALG, RH
from ..wire.objects import TPMS_KEYEDHASH_PARMS, TPMT_PUBLIC
from . import objects, tickets


def start_hash(tpm: Tpm, auth: bytes, hash_alg: int) -> int:
    """Start a hash sequence; returns its handle. RC.OBJECT_MEMORY."""
    return add(tpm, Sequence(auth, [ResumableHash(hash_alg)]))


def start_event(tpm: Tpm, auth: bytes) -> int:
    """Start an event sequence; returns its handle. RC.OBJECT_MEMORY."""
    hashes = [ResumableHash(bank) for bank in sorted(tpm.profile.pcr_banks)]
    return add(tpm, Sequence(auth, hashes, is_event=True))


def start_mac(tpm: Tpm, auth: bytes, running: ResumableHmac | Cmac) -> int:
    """Start a MAC sequence; returns its handle. RC.OBJECT_MEMORY."""
    if isinstance(running, Cmac):
        return add(tpm, Sequence(auth, cmac=running))
    return add(tpm, Sequence(auth, hmac=running))


def add(tpm: Tpm, sequence: Sequence) -> int:
    """Put a new sequence into a slot; returns its handle. RC.OBJECT_MEMORY."""
    sequence.auth_value = sequence.auth_value.rstrip(b"\0")
    public = TPMT_PUBLIC(
        ALG.NULL,
        ALG.NULL,
        TPMA_OBJECT.NO_DA,
        b"",
        TPMS_KEYEDHASH_PARMS(TPMT_KEYEDHASH_SCHEME(ALG.NULL, None)),
        b"",
    )
    loaded = LoadedObject(public, None, b"", b"", RH.NULL, sequence=sequence)
    return objects.add(tpm, loaded)


def find(loaded: LoadedObject) -> Sequence:
    """The sequence of a sequence object. RC.MODE at `sequence_handle` for other objects."""
    if loaded.sequence is None:
        raise TpmError(RC.MODE, at="sequence_handle")
    return loaded.sequence


def find_unsigned(loaded: LoadedObject) -> Sequence:
    """The same of one that is for no signature; RC.MODE for those that are."""
    sequence = find(loaded)
    if sequence.signature is not None:
        raise TpmError(RC.MODE, at="sequence_handle")
    return sequence


def update(sequence: Sequence, data: bytes) -> None:
    """Add a piece of data; the first one decides whether the digest is safe to sign."""
    if not sequence.started:
        sequence.started = True
        sequence.ticket_safe = tickets.is_safe_beginning(data)
    for running in (*sequence.hashes, sequence.hmac, sequence.cmac):
        if running is not None:
            running.update(data)
    if sequence.signature is not None:
        for proving in (sequence.signature.mu, sequence.signature.ticket):
            if proving is not None:
                proving.update(data)


def flush(tpm: Tpm, loaded: LoadedObject) -> None:
    """Remove a sequence that is complete."""
    del tpm.volatile.objects[loaded.handle]
