"""Which octets of an event its digest covers; the others are not believed.

A log is written by whoever sends it. Replaying it proves the digests and their order, and nothing
else: not the types of the events, and their data only where the digest is of the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vtpmd.tpm.crypto.hashes import digest

from .log import Event
from .types import EV
from .variables import variable_value

_ALWAYS: Final = frozenset(
    {EV.SEPARATOR, EV.EFI_ACTION, EV.EFI_VARIABLE_DRIVER_CONFIG, EV.EFI_VARIABLE_AUTHORITY}
)
"""Their digest is that of their data, by specification; anything else has been altered."""

_TAG_HEAD: Final = 8
_MAX_LABEL: Final = 32


class Kind(Enum):
    """How much of an event its digest covers."""

    ALL = "covers its data"
    PART = "covers a part of its data"
    NONE = "covers something else"
    WRONG = "should cover its data, and does not"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What is proven of an event, if its digest is: `octets` of its data."""

    kind: Kind
    octets: bytes = b""


def coverage(event: Event, alg: int) -> Coverage:
    """What the digest in the bank of `alg` covers."""
    measured = event.digests[alg]
    if digest(alg, event.data) == measured:
        return Coverage(Kind.ALL, event.data)
    for part in _parts(event):
        if digest(alg, part) == measured:
            return Coverage(Kind.PART, part)
    return Coverage(Kind.WRONG if event.type in _ALWAYS else Kind.NONE)


def _parts(event: Event) -> Iterator[bytes]:
    """The parts of the data that firmware and boot loaders are known to measure."""
    data = event.data
    match event.type:
        case EV.EFI_VARIABLE_BOOT | EV.EFI_VARIABLE_BOOT2:
            if (value := variable_value(data)) is not None:
                yield value
        case EV.EFI_VARIABLE_AUTHORITY:
            yield data[:-1]  # shim before 15.3 logged one octet more than it measured
        case EV.EVENT_TAG:
            yield data[_TAG_HEAD : _TAG_HEAD + int.from_bytes(data[4:8], "little")]
        case EV.IPL | EV.COMPACT_HASH | EV.ACTION:
            # GRUB writes a label before what it measures, and a NUL after it.
            ended = data.removesuffix(b"\0")
            yield ended
            label, found, text = ended.partition(b": ")
            if found and len(label) <= _MAX_LABEL:
                yield text
                yield text + b"\0"
