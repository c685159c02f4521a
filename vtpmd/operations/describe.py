"""How what the daemon knows is shown in reports."""

from collections.abc import Iterable
from datetime import UTC, datetime

from vtpmd.api.schema import KeySlot
from vtpmd.storage.slot import Slot


def key_slots(slots: Iterable[Slot]) -> tuple[KeySlot, ...]:
    """What may be shown of key slots."""
    return tuple(
        KeySlot(
            provider=slot.provider,
            type=slot.provider_type,
            key_ref=slot.key_ref,
            key_version=slot.key_version,
            purpose=slot.purpose,
            created=datetime.fromtimestamp(slot.created, UTC),
        )
        for slot in slots
    )
