"""Turning a TPM back on purpose: what restore and snapshot restore have in common."""

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.ipc.messages import Reseal, Stored
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.mark import Mark
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.instance_directory import claimed, opened_state, sealed_state
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.registry import Registry

from .bundle import Bundle


async def demand_confirmed(host: Host, bundle: Bundle, old: Instance | None) -> None:
    """Raise OperationError `unconfirmed`, with what would be lost, unless nothing would be."""
    found = bundle.envelope.header.mark
    newest = await trio.to_thread.run_sync(_newest, host, bundle.metadata.uuid)
    if old is None and (newest is None or found.follows(newest[0])):
        return
    back = f"the state of {_time(bundle.made)} ({found})"
    if newest is None:
        detail = f"{back} would take the place of one that cannot be read"
    else:
        mark, written = newest
        detail = f"{back} would take the place of that of {_time(written)} ({mark})"
    raise OperationError(
        problems.UNCONFIRMED,
        f"{detail[0].upper()}{detail[1:]}; what the machine has stored in its TPM in between "
        "would be lost to it.",
    )


def present_header(registry: Registry, uuid: UUID) -> Header | None:
    """What the state says that is stored now, None if it can't be read."""
    with suppress(EnvelopeError, StorageError):
        return registry.envelope(uuid).header
    return None


async def under_present_key(
    host: Host, metadata: Metadata, envelope: Envelope, directory: int
) -> bytes | None:
    """The state in `directory` with the key that the instance has now.

    None where one of the keys can't be had, or there is no present one; then it keeps its own.
    Raises as `carry_out`.
    """
    uuid = metadata.uuid
    try:
        present = await trio.to_thread.run_sync(host.registry.envelope, uuid)
    except (EnvelopeError, StorageError):
        return None
    if present.header.dek_id == envelope.header.dek_id:
        return envelope.replace_slots(present.slots)
    old, dek = bytearray(), bytearray()
    try:
        old = await host.keys.unlock(envelope, uuid)
        dek = await host.keys.unlock(present, uuid)
        order = Reseal(
            uuid=uuid,
            name=metadata.name,
            old=Key(old, envelope.header.dek_id, envelope.slots),
            key=Key(dek, present.header.dek_id, present.slots),
            sandbox=host.configuration.sandbox,
        )
        with opened_state(directory) as files, claimed(directory) as lock:
            await carry_out(host, metadata, order, Stored, [*files, lock])
        _, nvram = await trio.to_thread.run_sync(sealed_state, directory, uuid)
        return nvram
    except KeyMissingError:
        return None
    finally:
        wipe(old)
        wipe(dek)


def _newest(host: Host, uuid: UUID) -> tuple[Mark, datetime] | None:
    """The newest state that is stored or was seen, and when it was written or seen."""
    known: list[tuple[Mark, datetime]] = []
    if (present := present_header(host.registry, uuid)) is not None:
        known.append((present.mark, host.registry.written(uuid)))
    anchor = None
    with suppress(StorageError):
        anchor = host.anchors.known(uuid)
    if anchor is not None and (not known or not known[0][0].follows(anchor.newest)):
        return anchor.newest, anchor.seen
    return known[0] if known else None


def _time(time: datetime | None) -> str:
    if time is None:
        return "a time that is not known"
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
