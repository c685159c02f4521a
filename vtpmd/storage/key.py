"""The key of an instance's state."""

from dataclasses import dataclass, field

from .slot import Slot


@dataclass(frozen=True)
class Key:
    """A DEK (32 octets), its id (16 octets) and the slots that carry it wrapped.

    Whoever holds one wipes its `dek`.
    """

    dek: bytearray = field(repr=False)
    dek_id: bytes
    slots: tuple[Slot, ...]
