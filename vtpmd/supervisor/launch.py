"""Workers for one purpose each: to carry out one order, or to serve a TPM that is stored."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration
from vtpmd.ipc.messages import Event, FailureKind, Message, Ready, Serve
from vtpmd.linux import sockets
from vtpmd.linux.errors import InUseError
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

from . import serving_lock
from .endpoints import Endpoints, ownership
from .keys import KeyMissing, Keys
from .metadata import Metadata
from .registry import Registry
from .states import Trigger
from .worker import Worker, WorkerEnded, WorkerFailed
from .zygote import SpawnError, Zygote

# What a worker's failure means for the instance. Only a missing key is the provider's affair.
FAILURES: dict[FailureKind, tuple[Trigger, problems.Problem]] = {
    "key": (Trigger.KEY_UNAVAILABLE, problems.KEY_UNAVAILABLE),
    "damaged": (Trigger.REFUSED, problems.STATE_REFUSED),
    "newer": (Trigger.REFUSED, problems.STATE_REFUSED),
    "wrong-instance": (Trigger.REFUSED, problems.STATE_REFUSED),
    "storage": (Trigger.REFUSED, problems.UNAVAILABLE),
    "sandbox": (Trigger.REFUSED, problems.UNAVAILABLE),
    "model": (Trigger.REFUSED, problems.INVALID),
    "defect": (Trigger.REFUSED, problems.INTERNAL),
    "unknown": (Trigger.REFUSED, problems.INTERNAL),
}

log = get_logger("launch")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Host:
    """What all instances share."""

    configuration: Configuration
    registry: Registry
    keys: Keys
    zygote: Zygote
    nursery: trio.Nursery


class NotServed(Exception):
    """An attempt to serve an instance ended; `again`: the same may go better later."""

    def __init__(
        self, trigger: Trigger, problem: problems.Problem, reason: str, again: bool = False
    ) -> None:
        super().__init__(reason)
        self.trigger = trigger
        self.problem = problem
        self.reason = reason
        self.again = again


async def hire(
    host: Host, metadata: Metadata, on_event: Callable[[Event], None], lock: int | None = None
) -> Worker:
    """A fresh worker that answers; one that is to serve takes the serving lock.

    Raises SpawnError.
    """
    child = await host.zygote.spawn(metadata.uuid, metadata.name, lock)
    worker = Worker(child, on_event)
    host.nursery.start_soon(worker.run)
    return worker


async def commission(
    host: Host, metadata: Metadata, order: Message, expected: type[Answer], fds: Sequence[int]
) -> Answer:
    """Let a worker carry out an order that ends with its answer; it has ended when this returns.

    Raises SpawnError, WorkerFailed, WorkerEnded.
    """
    worker = await hire(host, metadata, lambda event: None)
    try:
        answer = await worker.ask(order, expected, fds)
        await worker.ended()
    except BaseException:
        await worker.dismiss()
        raise
    worker.close()
    return answer


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what can go wrong with stored states and workers into OperationError."""
    try:
        yield
    except KeyMissing as error:
        raise OperationError(problems.KEY_UNAVAILABLE, f"{error}.") from None
    except WorkerFailed as error:
        raise OperationError(FAILURES[error.kind][1], f"{error.reason}.") from None
    except EnvelopeError as error:
        raise OperationError(problems.STATE_REFUSED, f"{error}.") from None
    except StorageError as error:
        raise OperationError(problems.UNAVAILABLE, f"The state directory: {error}.") from None
    except InUseError as error:
        raise OperationError(problems.RUNNING_CONFLICT, f"{error}.") from None
    except (SpawnError, WorkerEnded) as error:
        raise OperationError(problems.INTERNAL, f"{error}.") from None


async def serve(
    host: Host,
    metadata: Metadata,
    endpoints: Endpoints,
    startup: bool,
    on_event: Callable[[Event], None],
) -> Worker:
    """Unlock an instance and hand it to a new worker, powered on if `startup`. Raises NotServed.

    The sockets are there before the key is: a virtual machine that starts at the same time waits
    for the first attempt to get it.
    """
    dek = bytearray()
    try:
        envelope = await trio.to_thread.run_sync(host.registry.envelope, metadata.uuid)
        listening = endpoints.listen()
        dek = await host.keys.unlock(envelope, metadata.uuid)
        order = _order(host.configuration, metadata, envelope, startup, dek)
        endpoints.admit()
        return await _hand_over(host, metadata, endpoints, listening, order, on_event)
    except EXPECTED as error:
        raise _explained(error) from None
    finally:
        wipe(dek)


EXPECTED = (
    KeyMissing,
    EnvelopeError,
    StorageError,
    WorkerFailed,
    WorkerEnded,
    SpawnError,
    InUseError,
    OSError,
    ValueError,  # the configured user or group is no more
)


def _explained(error: Exception) -> NotServed:
    match error:
        case KeyMissing():
            trigger, problem = FAILURES["key"]
            return NotServed(trigger, problem, str(error), error.retry)
        case WorkerFailed():
            return NotServed(*FAILURES[error.kind], error.reason)
        case WorkerEnded() | SpawnError():
            return NotServed(Trigger.REFUSED, problems.INTERNAL, str(error), again=True)
        case EnvelopeError() | StorageError():
            return NotServed(Trigger.REFUSED, problems.STATE_REFUSED, str(error))
    return NotServed(Trigger.REFUSED, problems.UNAVAILABLE, str(error))


async def _hand_over(
    host: Host,
    metadata: Metadata,
    endpoints: Endpoints,
    listening: list[int],
    order: Serve,
    on_event: Callable[[Event], None],
) -> Worker:
    control, *data = listening
    with (
        host.registry.claimed(metadata.uuid) as directory,
        sockets.listen(endpoints.reattach, mode=0o600, kind=socket.SOCK_SEQPACKET) as reattach,
        serving_lock.created(endpoints.reattach) as lock,
    ):
        worker = await hire(host, metadata, on_event, lock)
        try:
            ready = await worker.ask(order, Ready, [directory, control, reattach.fileno(), *data])
        except BaseException:
            await worker.dismiss()
            raise
    log.info(
        "served",
        instance=metadata.name,
        pid=worker.pid,
        generation=ready.generation,
        sandbox=ready.sandbox,
    )
    return worker


def _order(
    configuration: Configuration,
    metadata: Metadata,
    envelope: Envelope,
    startup: bool,
    dek: bytearray,
) -> Serve:
    owner, group = ownership(configuration.sockets)
    return Serve(
        uuid=metadata.uuid,
        name=metadata.name,
        dek=dek,
        dek_id=envelope.header.dek_id,
        slots=envelope.slots,
        sandbox=configuration.sandbox,
        startup=startup,
        # A socket that everybody may connect to, by its mode, is meant for everybody.
        check_peers=not configuration.sockets.mode & 0o002,
        peer_uids=(owner,) if owner >= 0 else (),
        peer_gids=(group,) if group >= 0 else (),
    )
