"""A fresh worker goes on where one that serves gives way; clients stay connected."""

import contextlib
from collections.abc import Callable, Sequence

import trio

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import GivesWay, GiveWay, Ready, Succeed, Succession
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.memory import memory_file
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

from . import serving_lock, waiting
from .access import Grant
from .adoption import survivor
from .backoff import Backoff
from .endpoints import Endpoints
from .errors import KeyMissingError, WorkerSilentError
from .events import OnEvent
from .host import Host
from .keeper import Duplicates
from .launch import dismissed_on_failure, serve_order, spawn
from .metadata import Metadata
from .old_keys import OldKeys
from .refusals import EXPECTED, NotServedError
from .states import Cause
from .worker import Worker
from .zygote import SpawnError

PATIENCE = 30.0
"""Seconds; a worker that is in the middle of something gives up waiting before."""

_PAUSES = 1.0, 60.0  # seconds between attempts to go on with one that slept

_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)

log = get_logger("succession")


async def succeed(
    host: Host, metadata: Metadata, endpoints: Endpoints, worker: Worker, on_event: OnEvent
) -> tuple[Worker, float]:
    """A fresh worker that serves in the place of `worker`; for how many seconds nobody did.

    The two settle it between them, and no key passes through here. If this raises, the old one
    goes on, whatever became of the new one: SpawnError, WorkerFailedError (`busy` where a client
    is in the middle of something), WorkerEndedError, OSError.

    Not to be cancelled: half a succession would leave a worker that nobody knows of.
    """
    with trio.CancelScope(shield=True), serving_lock.joined(endpoints.adoption) as lock:
        successor = await spawn(host, metadata, on_event, lock)
        successor.on_unwrap = OldKeys(host, metadata).answer
        async with dismissed_on_failure(host, metadata, successor):
            try:
                with trio.fail_after(PATIENCE):
                    ready = await _settle(host, metadata, worker, successor)
            except trio.TooSlowError:
                raise WorkerSilentError(f"not succeeded within {PATIENCE:.0f} s") from None
    pause = ready.pause / 1_000_000
    log.info(
        "succeeded",
        instance=metadata.name,
        pid=successor.pid,
        predecessor=worker.pid,
        pause_ms=round(pause * 1000, 1),
    )
    return successor, pause


async def revive(
    host: Host,
    metadata: Metadata,
    granted: Callable[[], Grant],
    endpoints: Endpoints,
    on_event: OnEvent,
    tell: Callable[[str], None],
) -> Worker:
    """A worker that goes on with a TPM that slept when the keeper ended.

    The descriptors are our duplicates, and the key is the key provider's: while that is away, or no
    worker can be had, which `tell` is told, it is tried again. The keeper may have had it woken
    just before it ended: then that worker goes on with it. Raises NotServedError.
    """
    assert host.keeper is not None
    pauses = Backoff(*_PAUSES)
    with contextlib.closing(host.keeper.take(metadata.uuid)) as kept:
        while True:
            try:
                if (worker := await survivor(endpoints.adoption, on_event)) is not None:
                    host.nursery.start_soon(worker.run)
                    return worker
                return await _go_on(host, metadata, granted(), endpoints, on_event, kept)
            except EXPECTED as error:
                failure = NotServedError.by(error)
                patient = isinstance(error, KeyMissingError | SpawnError | OSError)
            if not (patient and failure.again):
                raise NotServedError(Cause.CRASHED, failure.problem, str(failure), True)
            tell(f"its keeper ended, and it can't be woken: {failure}")
            await trio.sleep(pauses.next())


async def _go_on(
    host: Host,
    metadata: Metadata,
    grant: Grant,
    endpoints: Endpoints,
    on_event: OnEvent,
    kept: Duplicates,
) -> Worker:
    """A fresh worker that goes on with what is kept. Raises EXPECTED errors."""
    dek = bytearray()
    try:
        envelope = await trio.to_thread.run_sync(host.registry.envelope, metadata.uuid)
        dek = await host.keys.unlock(envelope, metadata.uuid)
        key = Key(dek, envelope.header.dek_id, envelope.slots)
        order = serve_order(
            host.configuration, metadata, envelope.header, grant, metadata.data_socket, key
        )
        with trio.CancelScope(shield=True), serving_lock.joined(endpoints.adoption) as lock:
            worker = await spawn(host, metadata, on_event, lock)
            async with dismissed_on_failure(host, metadata, worker):
                with trio.fail_after(PATIENCE):
                    await _bequeath(host, Succession(order, kept.data), kept.fds, worker)
    except trio.TooSlowError:
        raise WorkerSilentError(f"nobody went on with it within {PATIENCE:.0f} s") from None
    finally:
        wipe(dek)
    log.warning("revived", instance=metadata.name, pid=worker.pid)
    return worker


async def _bequeath(host: Host, succession: Succession, fds: Sequence[int], worker: Worker) -> None:
    """Be the predecessor of a worker, in the place of the keeper."""
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    channel = Channel(ours, Side.PREDECESSOR, State.AWAITED)

    async def hand_over() -> None:
        # If it ends early its worker does not answer, which is told there.
        with contextlib.closing(channel), contextlib.suppress(*_BROKEN):
            await waiting.receive(channel)
            await waiting.send(channel, succession, fds)
            await waiting.receive(channel)

    host.nursery.start_soon(hand_over)
    order = succession.order
    with theirs:
        await worker.ask(Succeed(order.uuid, order.name, order.sandbox), Ready, [theirs.fileno()])


async def _settle(host: Host, metadata: Metadata, worker: Worker, successor: Worker) -> Ready:
    ours, theirs = Channel.pair()
    with ours:
        with theirs, memory_file("suspended") as memory:
            await worker.ask(GiveWay(), GivesWay, [theirs.fileno(), memory])
        order = Succeed(metadata.uuid, metadata.name, host.configuration.sandbox)
        return await successor.ask(order, Ready, [ours.fileno()])
