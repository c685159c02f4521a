"""A fresh worker goes on where one that serves gives way; clients stay connected."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial

import trio

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import GivesWay, GiveWay, Ready, Succeed
from vtpmd.telemetry.log import get_logger

from . import serving_lock
from .endpoints import Endpoints
from .errors import WorkerSilentError
from .events import OnEvent
from .host import Host
from .launch import dismissed_on_failure, spawn
from .metadata import Metadata
from .old_keys import OldKeys
from .worker import Worker

PATIENCE = 30.0
"""Seconds; a worker that is in the middle of something gives up waiting before."""

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
        successor.on_unwrap = partial(OldKeys(host, metadata).answer, successor)
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


async def _settle(host: Host, metadata: Metadata, worker: Worker, successor: Worker) -> Ready:
    ours, theirs = Channel.pair()
    with ours:
        with theirs, _memory() as memory:
            await worker.ask(GiveWay(), GivesWay, [theirs.fileno(), memory])
        order = Succeed(metadata.uuid, metadata.name, host.configuration.sandbox)
        return await successor.ask(order, Ready, [ours.fileno()])


@contextlib.contextmanager
def _memory() -> Iterator[int]:
    """A file in memory for what one worker seals for another."""
    fd = os.memfd_create("suspended", os.MFD_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
