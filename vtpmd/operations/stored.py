"""A stored TPM that nobody serves, opened for a worker that is to change it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from vtpmd.storage.envelope import Envelope
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.claim import claim
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.metadata import Metadata


class Stored(NamedTuple):
    """What is stored, its key, and the descriptors of its files and of the instance's lock."""

    envelope: Envelope
    key: Key
    fds: list[int]


@asynccontextmanager
async def opened(host: Host, metadata: Metadata) -> AsyncIterator[Stored]:
    """The TPM of an instance at rest, which nobody else opens meanwhile; its key is wiped then.

    Raises StorageError, EnvelopeError, InUseError and KeyMissingError.
    """
    uuid = metadata.uuid
    async with claim(host.registry, uuid) as claimed:
        envelope = await trio.to_thread.run_sync(host.registry.envelope, uuid)
        dek = await host.keys.unlock(envelope, uuid)
        try:
            with host.registry.state_files(uuid) as files:
                key = Key(dek, envelope.header.dek_id, envelope.slots)
                yield Stored(envelope, key, [*files, claimed])
        finally:
            wipe(dek)
