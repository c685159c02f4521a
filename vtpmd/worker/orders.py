"""Orders that end with their answer: a TPM is made, sealed anew or looked into, never served."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from vtpmd.ipc.identity import (
    Identified,
    Identify,
    Recertify,
)
from vtpmd.ipc.messages import (
    ChangeStoredHandOver,
    Copy,
    Examine,
    Examined,
    HandOverChanged,
    HandOverRefused,
    LockoutReset,
    Manufacture,
    Message,
    Reseal,
    ResetStoredLockout,
    SandboxMode,
    Stored,
)
from vtpmd.storage.envelope import Header
from vtpmd.storage.errors import StorageError
from vtpmd.storage.header import stricter
from vtpmd.storage.sealed import SealedState, read_sealed
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine, IdentityError

from . import hosting, identity, lockout
from .errors import UnknownModelError
from .execution import WAITS
from .handover import AWAY, HandedOverError, HandOver
from .sandbox import Sandbox
from .sources import entropy, now


@contextmanager
def _confined(mode: SandboxMode, *keys: bytearray) -> Iterator[None]:
    sandbox = Sandbox(mode)
    sandbox.confine()
    sandbox.seal()
    try:
        yield
    finally:
        for key in keys:
            wipe(key)


Ask = Callable[[Message], Message]
"""Sends a report and waits for the order that answers it."""


def _manufacture(order: Manufacture, files: Sequence[int], ask: Ask) -> Stored:
    with _confined(order.sandbox, order.key.dek):
        state = SealedState.of(files, order.uuid, order.key)
        try:
            hosting.manufacture(
                state,
                order.profile,
                order.pcr_banks,
                lambda engine: identity.complete(engine, order.keys, ask),
            )
        except ValueError as error:
            raise UnknownModelError(str(error)) from None
        return Stored(state.generation)


def _copy(order: Copy, fds: Sequence[int], _: Ask) -> Stored:
    *files, source = fds
    with _confined(order.sandbox, order.source_dek, order.key.dek):
        engine, _header = _stored(source, order.source, order.source_dek)
        state = SealedState.of(files, order.uuid, order.key)
        state.create(engine.permanent())
        return Stored(state.generation)


def _reseal(order: Reseal, fds: Sequence[int], _: Ask) -> Stored:
    *files, _lock = fds
    with _confined(order.sandbox, order.old.dek, order.key.dek):
        state = SealedState.of(files, order.uuid, order.old)
        engine = Engine.restore(state.load(), entropy, now)
        if state.newer_waits:
            raise StorageError("failed", WAITS)
        state.rekey(order.key, engine.permanent())
        return Stored(state.generation)


def _change_hand_over(
    order: ChangeStoredHandOver, fds: Sequence[int], _: Ask
) -> HandOverChanged | HandOverRefused:
    *files, _lock = fds
    with _confined(order.sandbox, order.key.dek):
        state = SealedState.of(files, order.uuid, order.key)
        permanent = state.load()
        handover = HandOver(
            state, lambda at_rest: permanent, lambda kind, detail: None, order.handover
        )
        try:
            handover.change(order.act, order.epoch)
        except HandedOverError as error:
            return HandOverRefused(str(error))
        return HandOverChanged(handover.state, state.header.epoch, state.generation)


def _examine(order: Examine, fds: Sequence[int], _: Ask) -> Examined:
    (nvram,) = fds
    with _confined(order.sandbox, order.dek):
        engine, header = _stored(nvram, order.uuid, order.dek)
        return Examined(header.generation, engine.owner_objects, engine.owner_indices)


def _identify(order: Identify, fds: Sequence[int], _: Ask) -> Identified:
    (nvram,) = fds
    with _confined(order.sandbox, order.dek):
        engine, _header = _stored(nvram, order.uuid, order.dek)
        subject = order.subject if order.requests else None
        moduli = {kind: int.from_bytes(octets) for kind, octets in order.moduli.items()}
        return Identified(identity.of(engine, order.keys, subject, moduli))


def _recertify(order: Recertify, fds: Sequence[int], _: Ask) -> Stored:
    *files, _lock = fds
    with _confined(order.sandbox, order.key.dek):
        state = SealedState.of(files, order.uuid, order.key)
        engine = Engine.restore(state.load(), entropy, now)
        if stricter(state.header.handover, order.handover) == "away":
            raise IdentityError(AWAY)
        if state.newer_waits:
            raise IdentityError(WAITS)
        reply = identity.install(engine, order)
        if reply.nv is not None:
            state.save(reply.nv)
        return Stored(state.generation)


def _reset_lockout(
    order: ResetStoredLockout, fds: Sequence[int], _: Ask
) -> LockoutReset | HandOverRefused:
    *files, _lock = fds
    with _confined(order.sandbox, order.key.dek):
        state = SealedState.of(files, order.uuid, order.key)
        engine = Engine.restore(state.load(), entropy, now)
        if stricter(state.header.handover, order.handover) == "away":
            return HandOverRefused(AWAY)
        if state.newer_waits:
            raise StorageError("failed", WAITS)
        report, reply = lockout.reset(engine)
        if reply.nv is not None:
            state.save(reply.nv)
        return report


def _stored(nvram: int, uuid: UUID, dek: bytearray) -> tuple[Engine, Header]:
    """The TPM in a file that another process may be writing, and the header of its state."""
    envelope, _ = read_sealed(nvram, uuid)
    permanent = envelope.unseal(dek, uuid)
    try:
        return Engine.restore(bytes(permanent), entropy, now), envelope.header
    finally:
        wipe(permanent)


ORDERS: dict[type, Callable[..., Message]] = {
    Manufacture: _manufacture,
    Copy: _copy,
    Reseal: _reseal,
    ChangeStoredHandOver: _change_hand_over,
    Examine: _examine,
    Identify: _identify,
    Recertify: _recertify,
    ResetStoredLockout: _reset_lockout,
}
"""What carries each order out: with the order, the descriptors that came with it, and `ask`."""


def carry_out(order: Message, fds: Sequence[int], ask: Ask) -> Message:
    """Confine this process, do what is ordered and wipe the keys; the answer.

    Raises UnknownModelError, EnvelopeError, StateError, StorageError, SandboxError and
    IdentityError, and what `ask` raises.
    """
    return ORDERS[type(order)](order, fds, ask)
