"""Orders that end with their answer: a TPM is made, sealed anew or looked into, never served."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vtpmd.ipc.messages import (
    Copy,
    Examine,
    Examined,
    Manufacture,
    Message,
    Reseal,
    SandboxMode,
    Stored,
)
from vtpmd.storage.directory import NVRAM
from vtpmd.storage.envelope import parse
from vtpmd.storage.files import read_file
from vtpmd.storage.store import MAX_SIZE, Store
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine

from . import hosting
from .errors import UnknownModelError
from .persistence import Key, Persistence
from .sandbox import Sandbox
from .sources import entropy, now


def carry_out(order: Message, fds: Sequence[int]) -> Message:
    """Confine this process, do what is ordered and wipe the keys; the answer.

    Raises UnknownModelError, EnvelopeError, StateError, StorageError and SandboxError.
    """
    match order:
        case Manufacture():
            return _manufacture(order, *fds)
        case Copy():
            return _copy(order, *fds)
        case Reseal():
            return _reseal(order, *fds)
        case Examine():
            return _examine(order, *fds)
    raise NotImplementedError(type(order).__name__)


@contextmanager
def _confined(mode: SandboxMode, state_fd: int, *keys: bytearray) -> Iterator[Store]:
    sandbox = Sandbox(mode)
    sandbox.confine(state_fd)
    sandbox.seal()
    try:
        with Store(state_fd) as store:
            yield store
    finally:
        for key in keys:
            wipe(key)


def _manufacture(order: Manufacture, state_fd: int) -> Stored:
    with _confined(order.sandbox, state_fd, order.dek) as store:
        key = Key(order.dek, order.dek_id, order.slots)
        try:
            made = hosting.manufacture(store, order.uuid, key, order.profile, order.pcr_banks)
        except ValueError as error:
            raise UnknownModelError(str(error)) from None
        return Stored(made.generation)


def _copy(order: Copy, state_fd: int, source_fd: int) -> Stored:
    envelope = parse(read_file(NVRAM, MAX_SIZE, dir_fd=source_fd))  # while it can be reached
    with _confined(order.sandbox, state_fd, order.source_dek, order.dek) as store:
        permanent = envelope.unseal(order.source_dek, order.source)
        engine = Engine.restore(bytes(permanent), entropy, now)
        wipe(permanent)
        persistence = Persistence(store, order.uuid, Key(order.dek, order.dek_id, order.slots))
        persistence.create(engine.permanent())
        return Stored(persistence.generation)


def _reseal(order: Reseal, state_fd: int) -> Stored:
    with _confined(order.sandbox, state_fd, order.old_dek, order.dek) as store:
        old = Key(order.old_dek, order.old_dek_id, ())
        persistence = Persistence(store, order.uuid, old)
        engine = Engine.restore(persistence.load(), entropy, now)
        persistence.rekey(Key(order.dek, order.dek_id, order.slots), engine.permanent())
        return Stored(persistence.generation)


def _examine(order: Examine, state_fd: int) -> Examined:
    with _confined(order.sandbox, state_fd, order.dek) as store:
        persistence = Persistence(store, order.uuid, Key(order.dek, b"", ()))
        engine = Engine.restore(persistence.load(), entropy, now)
        return Examined(persistence.generation, engine.owner_objects, engine.owner_indices)
