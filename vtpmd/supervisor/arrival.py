"""A TPM that was to come from another host: whether it is there, and what is noted of it then."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from vtpmd.api.text import printable
from vtpmd.ipc.messages import Event, StatusReply
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.telemetry.log import get_logger

from .keys import primary
from .metadata import Metadata, MetadataError
from .reasons import AWAITING
from .registry import Registry

log = get_logger("arrival")
MAX_REASON = 300
"""Characters of what a worker says of state that it refused."""
CAME = "ready: its TPM has come from another host"


async def awaiting(registry: Registry, metadata: Metadata) -> bool:
    """Whether a TPM is still to come; what can't be read is not."""
    with contextlib.suppress(StorageError, EnvelopeError):
        return await trio.to_thread.run_sync(registry.awaits, metadata)
    return False


async def arrived(
    registry: Registry,
    metadata: Metadata,
    status: StatusReply,
    note: Callable[..., Awaitable[None]],
) -> bool:
    """Whether a TPM that was to come is there; `note` then writes down what changes with that.

    What a ticket has said stays; what none said, the worker's `status` says, as far as it is of the
    right form.
    """
    if not metadata.incoming:
        return False
    try:
        if await trio.to_thread.run_sync(registry.awaits, metadata):
            return False
        envelope = await trio.to_thread.run_sync(registry.envelope, metadata.uuid)
        await note(**vars(_completed(metadata, primary(envelope.slots).provider, status)))
    except (StorageError, EnvelopeError) as error:
        log.warning("arrival-not-noted", instance=metadata.name, reason=str(error))
    return True


def _completed(metadata: Metadata, provider: str, status: StatusReply) -> Metadata:
    noted = replace(metadata, incoming=False, provider=provider)
    told = replace(
        noted,
        profile=metadata.profile or status.profile,
        pcr_banks=metadata.pcr_banks or status.pcr_banks,
    )
    with contextlib.suppress(MetadataError):
        return Metadata.decode(told.encode())
    return noted


def refusal(event: Event) -> str | None:
    """Why an instance still awaits its TPM after this event, None if that says nothing of it."""
    if event.kind != "state-refused":
        return None
    return f"{AWAITING}; what came last was refused: {printable(event.detail[:MAX_REASON])}"
