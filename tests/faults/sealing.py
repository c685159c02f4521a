"""The keys of a daemon's instances, for tests that must know them: root of the host could, too."""

from uuid import UUID

import trio

from tests.peers.vtpmd import VtpmdInstance
from vtpmd.kms.local import LocalProvider
from vtpmd.kms.provider import KeyContext
from vtpmd.storage.envelope import parse


def dek_of(instance: VtpmdInstance) -> bytearray:
    """The DEK of an instance, from the daemon's keyring."""
    envelope = parse(instance.nvram.read_bytes())
    provider = LocalProvider("local", instance.daemon.state / "keyring")
    context = KeyContext(UUID(instance.directory.name), envelope.header.dek_id)
    return trio.run(provider.unwrap, envelope.slots[0], context)
