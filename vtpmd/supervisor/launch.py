"""Workers for one purpose each: to carry out one order, or to serve a TPM that is stored."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from vtpmd.config.schema import Configuration
from vtpmd.ipc.messages import Event, Message, Ready, Serve
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

from . import serving_lock
from .endpoints import Endpoints, ownership
from .host import Host
from .metadata import Metadata
from .refusals import EXPECTED, NotServedError
from .worker import Worker

log = get_logger("launch")
Answer = TypeVar("Answer")


async def spawn(
    host: Host, metadata: Metadata, on_event: Callable[[Event], None], lock: int | None = None
) -> Worker:
    """A fresh worker that answers; one that is to serve takes the serving lock.

    Raises SpawnError.
    """
    child = await host.zygote.spawn(metadata.uuid, metadata.name, lock)
    worker = Worker(child, on_event)
    host.nursery.start_soon(worker.run)
    return worker


async def carry_out(
    host: Host, metadata: Metadata, order: Message, expected: type[Answer], fds: Sequence[int]
) -> Answer:
    """Let a worker carry out an order that ends with its answer; it has ended when this returns.

    Raises SpawnError, WorkerFailedError, WorkerEndedError.
    """
    worker = await spawn(host, metadata, lambda event: None)
    try:
        answer = await worker.ask(order, expected, fds)
        await worker.ended()
    except BaseException:
        await worker.dismiss()
        raise
    worker.close()
    return answer


async def serve(
    host: Host,
    metadata: Metadata,
    endpoints: Endpoints,
    startup: bool,
    on_event: Callable[[Event], None],
) -> Worker:
    """Unlock an instance and hand it to a new worker, powered on if `startup`.

    The sockets are there before the key is: a virtual machine that starts at the same time waits
    for the first attempt to get it. Raises NotServedError.
    """
    dek = bytearray()
    try:
        envelope = await trio.to_thread.run_sync(host.registry.envelope, metadata.uuid)
        listening = endpoints.listen()
        dek = await host.keys.unlock(envelope, metadata.uuid)
        order = serve_order(host.configuration, metadata, envelope, startup, dek)
        endpoints.admit()
        return await _hand_over(host, metadata, endpoints, listening, order, on_event)
    except EXPECTED as error:
        raise NotServedError.by(error) from None
    finally:
        wipe(dek)


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
        host.registry.claimed(metadata.uuid) as claim,
        host.registry.state_files(metadata.uuid) as files,
        serving_lock.created(endpoints.adoption) as lock,
        endpoints.listen_for_adoption() as adoption,
    ):
        worker = await spawn(host, metadata, on_event, lock)
        try:
            fds = [*files, claim, control, adoption.fileno(), *data]
            ready = await worker.ask(order, Ready, fds)
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


def serve_order(
    configuration: Configuration,
    metadata: Metadata,
    envelope: Envelope,
    startup: bool,
    dek: bytearray,
) -> Serve:
    """The order to serve an instance. Raises EndpointError."""
    owner, group = ownership(configuration.sockets)
    return Serve(
        uuid=metadata.uuid,
        name=metadata.name,
        key=Key(dek, envelope.header.dek_id, envelope.slots),
        sandbox=configuration.sandbox,
        startup=startup,
        # A socket that everybody may connect to, by its mode, is meant for everybody.
        check_peers=not configuration.sockets.mode & 0o002,
        peer_uids=(owner,) if owner >= 0 else (),
        peer_gids=(group,) if group >= 0 else (),
    )
