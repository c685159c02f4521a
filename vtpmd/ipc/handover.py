"""Messages about a TPM's hand-over, and about state that comes from elsewhere."""

from dataclasses import dataclass, field
from typing import Literal

HandOverAct = Literal["declare", "cancel", "done", "take-back", "begin"]
"""Declare a migration, or not any more; say that one is done; let this host go on after all; begin
a new line of the TPM's life."""


@dataclass(frozen=True)
class ChangeHandOver:
    """Change the state of hand-over of the TPM that is served."""

    act: HandOverAct


@dataclass(frozen=True)
class HandOverChanged:
    """It is durable. `handover`: "ours", "lent" or "away"."""

    handover: str
    epoch: int = 0
    generation: int = 0


@dataclass(frozen=True)
class HandOverRefused:
    """The state of hand-over stays."""

    reason: str


@dataclass(frozen=True)
class UnwrapKey:
    """The worker was given a state blob that is sealed under another DEK than its own.

    `slots` are those that the blob carries, as `Slot.encode` gives them; one that can't be read is
    passed over. Only a DEK of the worker's own instance is unwrapped.
    """

    dek_id: bytes
    slots: tuple[bytes, ...]


@dataclass(frozen=True)
class Unwrapped:
    """The DEK (32 octets) that UnwrapKey asked for. It opens blobs and seals nothing."""

    dek_id: bytes
    dek: bytearray = field(repr=False)


@dataclass(frozen=True)
class NotUnwrapped:
    """The DEK can't be had; the supervisor's log says why."""

    dek_id: bytes
