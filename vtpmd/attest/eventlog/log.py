"""The octets of an event log: crypto-agile ones, and those of TCG 1.2 with SHA-1 alone.

Platform Firmware Profile 1.06, 10.2. All numbers are little endian, all sizes come from whoever
wrote the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as _struct_error
from typing import Final

from vtpmd.tpm.wire.constants import ALG, DIGEST_SIZES
from vtpmd.tpm.wire.limits import IMPLEMENTATION_PCR

from ..errors import MalformedError
from .types import EV

MAX_SIZE: Final = 4 * 1024 * 1024
MAX_EVENTS: Final = 16_384
_MAX_ALGORITHMS: Final = 8
_MAX_DIGEST: Final = 64

_SPECIFICATION: Final = b"Spec ID Event03\0"
_STARTUP_LOCALITY: Final = b"StartupLocality\0"
_ANY_PCR: Final = 0xFFFFFFFF
"""Of events that concern no PCR; they are never extended."""

_OLD: Final = Struct("<II20sI")
_HEAD: Final = Struct("<III")
_U32: Final = Struct("<I")
_ALGORITHM: Final = Struct("<HH")
_PADDING: Final = (0, 0xFF)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `digests` are by hash algorithm."""

    number: int
    pcr: int
    type: int
    digests: Mapping[int, bytes]
    data: bytes

    @property
    def measured(self) -> bool:
        """Whether it has extended its PCR."""
        return self.type != EV.NO_ACTION


@dataclass(frozen=True, slots=True)
class Log:
    """A log's events, and the size of the digests of each of its banks."""

    banks: Mapping[int, int]
    events: tuple[Event, ...]
    startup_locality: int
    """What PCR 0 began with."""


def parse_log(octets: bytes) -> Log:
    """Read a whole log. What follows its end has to be padding. Raises MalformedError."""
    if len(octets) > MAX_SIZE:
        raise MalformedError(f"a log of more than {MAX_SIZE} octets")
    if not octets:
        raise MalformedError("an empty log")
    pcr, type_, _, data, at = _old_event(octets, 0)
    if type_ == EV.NO_ACTION and data.startswith(_SPECIFICATION):
        banks = _banks(data)
        first = Event(0, pcr, type_, {}, data)
        return _finished(banks, _agile(octets, at, banks, first))
    return _finished({ALG.SHA1: DIGEST_SIZES[ALG.SHA1]}, _old(octets))


def _banks(data: bytes) -> dict[int, int]:
    """The hash algorithms that a Spec ID event announces, with the sizes of their digests."""
    try:
        (count,) = _U32.unpack_from(data, 24)
        if not 0 < count <= _MAX_ALGORITHMS or len(data) < 28 + 4 * count + 1:
            raise MalformedError("the log's first event announces no banks")
        pairs = [_ALGORITHM.unpack_from(data, 28 + 4 * number) for number in range(count)]
    except _struct_error:
        raise MalformedError("the log's first event is too short") from None
    banks = dict(pairs)
    wrong = [
        alg
        for alg, size in pairs
        if not 0 < size <= _MAX_DIGEST or DIGEST_SIZES.get(alg, size) != size
    ]
    if wrong or len(banks) != count:
        raise MalformedError("the log's first event announces impossible banks")
    return banks


def _old_event(octets: bytes, at: int) -> tuple[int, int, bytes, bytes, int]:
    try:
        pcr, type_, sha1, size = _OLD.unpack_from(octets, at)
    except _struct_error:
        raise _ends(at) from None
    start = at + _OLD.size
    if start + size > len(octets):
        raise _ends(at)
    return pcr, type_, sha1, octets[start : start + size], start + size


def _old(octets: bytes) -> list[Event]:
    events: list[Event] = []
    at = 0
    while at < len(octets) and not _is_padding(octets, at):
        pcr, type_, sha1, data, at = _old_event(octets, at)
        _append(events, Event(len(events), pcr, type_, {ALG.SHA1: sha1}, data))
    return events


def _agile(octets: bytes, at: int, banks: Mapping[int, int], first: Event) -> list[Event]:
    events = [first]
    end = len(octets)
    while at < end and not _is_padding(octets, at):
        begin = at
        try:
            pcr, type_, count = _HEAD.unpack_from(octets, at)
            at += _HEAD.size
            if count > len(banks):
                raise MalformedError(f"event {len(events)} has {count} digests")
            digests: dict[int, bytes] = {}
            for _ in range(count):
                alg = int.from_bytes(octets[at : at + 2], "little")
                if alg not in banks:
                    raise MalformedError(f"event {len(events)} has a digest of bank 0x{alg:04x}")
                digests[alg] = octets[at + 2 : at + 2 + banks[alg]]
                at += 2 + banks[alg]
            (size,) = _U32.unpack_from(octets, at)
        except _struct_error:
            raise _ends(begin) from None
        at += _U32.size
        if at + size > end:
            raise _ends(begin)
        if len(digests) != len(banks) and type_ != EV.NO_ACTION:
            raise MalformedError(f"event {len(events)} lacks the digest of a bank")
        _append(events, Event(len(events), pcr, type_, digests, octets[at : at + size]))
        at += size
    return events


def _append(events: list[Event], event: Event) -> None:
    if len(events) == MAX_EVENTS:
        raise MalformedError(f"a log of more than {MAX_EVENTS} events")
    if event.pcr >= IMPLEMENTATION_PCR and (event.measured or event.pcr != _ANY_PCR):
        raise MalformedError(f"event {event.number} is of PCR {event.pcr}")
    events.append(event)


def _is_padding(octets: bytes, at: int) -> bool:
    """Whether the log has ended: the area it is kept in may be longer, all zeros or all ones."""
    fill = octets[at]
    if fill not in _PADDING or octets[at : at + 12].strip(bytes([fill])):
        return False
    if octets.count(fill, at) != len(octets) - at:
        raise MalformedError(f"something follows the log's end at octet {at}")
    return True


def _finished(banks: Mapping[int, int], events: list[Event]) -> Log:
    localities = {
        event.data[len(_STARTUP_LOCALITY)]
        for event in events
        if event.type == EV.NO_ACTION
        and event.data.startswith(_STARTUP_LOCALITY)
        and len(event.data) == len(_STARTUP_LOCALITY) + 1
    }
    if len(localities) > 1:
        raise MalformedError("the log tells of two startup localities")
    # An H-CRTM has run before TPM2_Startup, from locality 4 (Part 1, 10.2.3 and 31.3).
    first = next((event for event in events if event.measured and event.pcr == 0), None)
    implied = 4 if first is not None and first.type == EV.EFI_HCRTM_EVENT else 0
    return Log(banks, tuple(events), localities.pop() if localities else implied)


def _ends(at: int) -> MalformedError:
    return MalformedError(f"the log ends in the middle of the event at octet {at}")
