"""State blobs for another host: sealed, with the slots that open them there."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from vtpmd.storage.envelope import Envelope, Header, parse, seal
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.key import Key
from vtpmd.storage.wipe import wipe
from vtpmd.swtpm.table import BlobType


def seal_blob(key: Key, header: Header, kind: BlobType, state: bytes) -> bytes:
    """A blob with `state`, as new as `header` says."""
    stated = replace(header, kind="migration", dek_id=key.dek_id)
    return seal(key.dek, stated, key.slots, bytes([kind]) + state)


def open_blob(
    key: Key, old: Callable[[Envelope], bytearray], uuid: UUID, kind: BlobType, blob: bytes
) -> tuple[bytes, Envelope]:
    """The state in a blob of instance `uuid`, and the blob as an envelope, now authentic.

    `old` gives the DEK of one that was sealed under another than `key`. Raises EnvelopeError, and
    what `old` raises.
    """
    envelope = parse(blob)
    envelope.demand_instance(uuid)
    dek = key.dek if envelope.header.dek_id == key.dek_id else old(envelope)
    payload = envelope.unseal(dek, uuid, "migration")
    try:
        if payload[:1] != bytes([kind]):
            raise EnvelopeError("damaged", f"the state blob is not of type {kind.name.lower()}")
        return bytes(payload[1:]), envelope
    finally:
        wipe(payload)
