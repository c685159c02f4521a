"""Workers for one purpose each: to carry out one order, or to serve a TPM that is stored."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.config.schema import Configuration
from vtpmd.ipc.messages import (
    Admitted,
    ChangeStoredHandOver,
    HandOverChanged,
    Message,
    Ready,
    Serve,
)
from vtpmd.linux.descriptors import close_fds
from vtpmd.storage.header import Handover, Header
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

from . import lease, serving_lock
from .access import Grant
from .claim import claim
from .endpoints import Endpoints
from .errors import WorkerEndedError, WorkerSilentError
from .events import OnEvent
from .host import Host
from .instance_log import log_of
from .metadata import Metadata
from .old_keys import OldKeys
from .refusals import EXPECTED, NotServedError
from .worker import Worker

log = get_logger("launch")
Answer = TypeVar("Answer")


async def spawn(
    host: Host, metadata: Metadata, on_event: OnEvent, lock: int | None = None
) -> Worker:
    """A fresh worker that answers; one that is to serve takes the serving lock.

    Raises SpawnError.
    """
    process = await host.zygote.spawn(metadata.uuid, metadata.name, lock)
    worker = Worker(process, on_event)
    host.nursery.start_soon(worker.run)
    return worker


async def carry_out(
    host: Host, metadata: Metadata, order: Message, expected: type[Answer], fds: Sequence[int]
) -> Answer:
    """Let a worker carry out an order that ends with its answer; it has ended when this returns.

    Raises SpawnError, WorkerFailedError, WorkerEndedError.
    """
    async with conversation(host, metadata) as worker:
        return await worker.ask(order, expected, fds)


@asynccontextmanager
async def conversation(host: Host, metadata: Metadata) -> AsyncIterator[Worker]:
    """A worker for orders that end with an answer; it has ended when the body and this have.

    Raises SpawnError, and WorkerEndedError if it does not end by itself.
    """
    worker = await spawn(host, metadata, lambda pid, event: True)
    async with dismissed_on_failure(host, metadata, worker):
        yield worker
        await worker.ended()
    worker.close()


@asynccontextmanager
async def dismissed_on_failure(
    host: Host, metadata: Metadata, worker: Worker
) -> AsyncIterator[None]:
    """Dismiss the worker if the body fails; log how it ended if it could not tell itself."""
    try:
        yield
    except WorkerEndedError as error:
        await worker.dismiss()
        log.error(
            "worker-ended",
            instance=metadata.name,
            uuid=str(metadata.uuid),
            pid=worker.pid,
            reason=str(error),
            how=await host.zygote.exit_of(worker.pid),
        )
        raise
    except BaseException:
        await worker.dismiss()
        raise


async def try_key(host: Host, uuid: UUID) -> None:
    """Get an instance's key, and wipe it. Raises KeyMissingError, and as `Registry.envelope`."""
    envelope = await trio.to_thread.run_sync(host.registry.envelope, uuid)
    wipe(await host.keys.unlock(envelope, uuid))


async def serve(
    host: Host,
    metadata: Metadata,
    granted: Callable[[], Grant],
    endpoints: Endpoints,
    startup: bool,
    on_event: OnEvent,
    tell: Callable[[str], None],
) -> Worker:
    """Unlock an instance and hand it to a new worker, powered on if `startup`.

    One whose TPM is still to come needs no key: the worker's `incoming` says so then.

    `granted` says who may connect now; `tell` is told what people are to know of its state. The
    sockets are there before the key is: a virtual machine that starts at the same time waits for
    the first attempt to get it. Raises NotServedError.
    """
    dek, admission = bytearray(), None
    try:
        if not await trio.to_thread.run_sync(host.registry.awaits, metadata):
            admission = await trio.to_thread.run_sync(host.anchors.admit, metadata.uuid)
        listening = endpoints.listen(granted())
        if admission is None:
            key, header = host.keys.none(), None
        else:
            envelope = admission.envelope
            header = envelope.header
            dek = await host.keys.unlock(envelope, metadata.uuid)
            key = Key(dek, envelope.header.dek_id, envelope.slots)
        grant = granted()
        order = serve_order(host.configuration, metadata, header, grant, startup, key)
        endpoints.admit()
        if admission is not None:
            if admission.after is not None:
                await _begin_anew(host, metadata, key, order.handover, admission.after)
            if admission.told:
                tell(admission.told)
        worker = await _hand_over(host, metadata, endpoints, listening, order, on_event)
        await _keep_up(worker, grant, granted)
        if admission is not None:
            host.nursery.start_soon(trio.to_thread.run_sync, host.anchors.note, metadata.uuid)
        return worker
    except EXPECTED as error:
        raise NotServedError.by(error) from None
    finally:
        wipe(dek)


async def demand_newest(host: Host, metadata: Metadata) -> None:
    """Do with an older state that was put back what the policy says, before more is stored.

    What is stored on top of it could pass for the newest. Raises RolledBackError, KeyMissingError,
    and as `Registry.envelope` and `carry_out`.
    """
    admission = await trio.to_thread.run_sync(host.anchors.admit, metadata.uuid)
    if admission.after is None:
        return
    envelope = admission.envelope
    dek = await host.keys.unlock(envelope, metadata.uuid)
    try:
        key = Key(dek, envelope.header.dek_id, envelope.slots)
        handover = metadata.remembered(envelope.header)
        await _begin_anew(host, metadata, key, handover, admission.after)
    finally:
        wipe(dek)


async def _begin_anew(
    host: Host, metadata: Metadata, key: Key, handover: Handover, after: int
) -> None:
    """Let a stored TPM begin a new line of its life first."""
    beginning = ChangeStoredHandOver(
        uuid=metadata.uuid,
        name=metadata.name,
        key=key,
        act="begin",
        handover=handover,
        sandbox=host.configuration.sandbox,
        epoch=after,
    )
    async with claim(host.registry, metadata.uuid) as claimed:
        with host.registry.state_files(metadata.uuid) as files:
            fds = [*files, claimed]
            changed = await carry_out(host, metadata, beginning, HandOverChanged, fds)
    log.warning(
        "begun-anew",
        instance=metadata.name,
        uuid=str(metadata.uuid),
        epoch=changed.epoch,
        generation=changed.generation,
    )


async def _hand_over(
    host: Host,
    metadata: Metadata,
    endpoints: Endpoints,
    listening: list[int],
    order: Serve,
    on_event: OnEvent,
) -> Worker:
    control, *data = listening
    async with (
        claim(host.registry, metadata.uuid) as claimed,
        lease.taken(host.registry, metadata.uuid),
    ):
        with (
            host.registry.state_files(metadata.uuid) as files,
            serving_lock.created(endpoints.adoption) as lock,
            endpoints.listen_for_adoption() as adoption,
        ):
            worker = await spawn(host, metadata, on_event, lock)
            worker.on_unwrap = OldKeys(host, metadata).answer
            async with (
                dismissed_on_failure(host, metadata, worker),
                _left(host, metadata.uuid) as left,
            ):
                if left:
                    order = replace(order, inherits=True, startup=False)
                fds = [*files, claimed, control, adoption.fileno(), *data, *left]
                ready = await worker.ask(order, Ready, fds)
                worker.incoming = order.incoming
    log.info(
        "served",
        instance=metadata.name,
        pid=worker.pid,
        generation=ready.generation,
        sandbox=ready.sandbox,
        inherits=order.inherits,
    )
    return worker


@asynccontextmanager
async def _left(host: Host, uuid: UUID) -> AsyncIterator[list[int]]:
    """Descriptors of the bequest of a worker that has crashed; none if there is none."""
    fds = [] if host.keeper is None else await host.keeper.bequest(uuid)
    try:
        yield fds
    finally:
        close_fds(fds)


async def admit(worker: Worker, grant: Grant) -> None:
    """Have a worker admit who may connect now; the next one is told in its order.

    Raises OperationError if it does not answer: it may serve on as before.
    """
    try:
        await worker.ask(grant.order, Admitted)
    except WorkerSilentError as error:
        raise OperationError(
            problems.UNAVAILABLE,
            f"It is set, but {error} and may admit whom it did before: "
            "stop the instance with --force and start it.",
        ) from None
    except WorkerEndedError:
        return


async def renew_access(
    worker: Worker, endpoints: Endpoints, grant: Grant, metadata: Metadata
) -> None:
    """Tell a worker that was not started by us who may connect: that may have changed.

    It serves on also if that fails: who uses the TPM has nothing to do with it.
    """
    try:
        endpoints.grant(grant)
        await worker.ask(grant.order, Admitted)
    except EXPECTED as error:
        log_of(metadata).warning("access-unchanged", reason=str(error))


async def _keep_up(worker: Worker, known: Grant, granted: Callable[[], Grant]) -> None:
    """Tell the worker who may connect if that has changed since it got its order."""
    try:
        while (grant := granted()) != known:
            await worker.ask(grant.order, Admitted)
            known = grant
    except BaseException:
        await worker.dismiss()
        raise


def serve_order(
    configuration: Configuration,
    metadata: Metadata,
    header: Header | None,
    grant: Grant,
    startup: bool,
    key: Key,
) -> Serve:
    """The order to serve an instance; `header` is that of its stored state, None without one."""
    return Serve(
        uuid=metadata.uuid,
        name=metadata.name,
        key=key,
        sandbox=configuration.sandbox,
        startup=startup and header is not None,
        handover="ours" if header is None else metadata.remembered(header),
        incoming=header is None,
        **vars(grant.order),
    )
