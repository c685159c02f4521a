"""The keys of a daemon's instances, for tests that must know them: root of the host could, too."""

from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.peers.vtpmd import VtpmdInstance
from tests.state_files import envelope_of
from vtpmd.kms.local.keyring import parse as parse_keyring
from vtpmd.kms.provider import KeyContext

IV_SIZE = 12


def dek_of(instance: VtpmdInstance) -> bytes:
    """The DEK of an instance, opened with the keyring whomever that belongs to."""
    envelope = envelope_of(instance.nvram)
    (slot,) = envelope.slots
    kek = parse_keyring((instance.daemon.state / "keyring").read_bytes()).find(slot.key_version)
    assert kek is not None
    context = KeyContext(UUID(instance.directory.name), envelope.header.dek_id)
    iv, wrapped = slot.wrapped[:IV_SIZE], slot.wrapped[IV_SIZE:]
    return AESGCM(kek.key).decrypt(iv, wrapped, context.aad())
