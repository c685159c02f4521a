"""State files: two places, of which one always holds the last record whose write has returned.

The places begin at fixed offsets, so that neither grows into the other; the file is sparse. A save
overwrites the place that does not hold the current record, with one synced write. Whatever a crash
leaves there, the current record is untouched: the next `load` finds it or the new one. A process
that has only an open descriptor can do all of this: nothing is made, opened, renamed or removed.

A record that was read may be in the page cache alone, where a writer was killed or its sync failed.
It is written once more before the other place is given up: `settle`.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from .device import Device
from .errors import EnvelopeError, StorageError, damaged, outdated, truncated, wrong_instance
from .files import storage_error
from .record import (
    BEGINNING,
    HEAD_SIZE,
    MAX_SEQUENCE,
    MAX_SIZE,
    Home,
    Record,
    Role,
    parse,
    size,
    with_headroom,
)

PLACE_SIZE = MAX_SIZE + 4096
"""The distance of the places, a multiple of 4 KiB: sectors are never shared."""
FILE_SIZE = 2 * PLACE_SIZE
"""The most octets that a state file may have."""

_ATTEMPTS = 3  # a reader beside the writer can meet both places in the middle of a write

Condition = Literal["whole", "interrupted", "damaged"]


@dataclass(frozen=True)
class Loaded:
    """What a state file holds: the content of its current record, None if it is empty.

    `condition`: `whole`; `interrupted` if one place is as an interrupted write leaves it;
    `damaged` if no interrupted write explains what was found, as `reason` says to people.
    """

    content: bytes | None = field(repr=False)
    condition: Condition
    reason: str = ""


class StateFile:
    """The state file with this role of instance `uuid`; `load` comes first.

    One process at a time may save; others may load meanwhile, and get a record that was current.
    """

    def __init__(self, device: Device, uuid: UUID, role: Role) -> None:
        self._device = device
        self._homes = Home(uuid, role, 0), Home(uuid, role, 1)
        self._role = role
        self._current: Record | None = None
        self.settled = False
        """Whether the current record is known to be durable."""
        self._blank = False  # both places were cleared, the newer one durably if `settled`
        self._capacity = 0
        self.shortage: str | None = None
        """Why the last `reserve` returned False."""

    def load(self, accept: Callable[[bytes], bool] | None = None) -> Loaded:
        """Read the file and make its newest record the current one.

        With `accept`, a newer record that it refuses is passed over, and the next save overwrites
        it; if it refuses all there are, the newest is current.

        Raises EnvelopeError `newer`, `wrong-instance`, `truncated` or `damaged` where no record can
        be current, StorageError `unsafe` or `failed`. The file is left as it is.
        """
        ours, reason = self._read_undisturbed()
        ours.sort(key=lambda record: record.sequence, reverse=True)
        accepted = (
            record for record in ours if not (record.content and accept) or accept(record.content)
        )
        self._current = next(accepted, ours[0])
        self.settled = False
        self._blank = len(ours) == 2 and not any(record.content for record in ours)
        condition: Condition = "damaged" if reason else "whole" if len(ours) == 2 else "interrupted"
        return Loaded(self._current.content or None, condition, reason)

    def settle(self) -> None:
        """Make the record that was loaded durable, if that is not certain. Raises StorageError."""
        if not self.settled:
            self._write(self._known())

    def save(self, content: bytes) -> None:
        """Make `content` the current record and return when that is durable.

        Raises StorageError `full` or `failed`: the record before stays the current one, and the
        next save overwrites whatever was written of this one; until then a later `load` may find
        either. Raises ValueError for nothing, or more than MAX_SIZE octets.
        """
        if not content:
            raise ValueError("a record without content says that the file is cleared")
        self.settle()
        self._replace(content)

    def repeat(self) -> None:
        """Store the current record once more, in the other place. Raises StorageError as `save`."""
        self._replace(self._known().content)

    def clear(self) -> None:
        """Make the file empty and return when that is durable. Raises StorageError as `save` does.

        Both places are overwritten, all of what they held: decay of one can't bring back what was
        cleared, nor an old key open it. So is what could not be loaded, for nobody wants it any
        more. A file that is empty already costs nothing, but for the first time after `load`.
        """
        if self._current is None:
            self._current = Record(self._homes[1], 0, b"")
        blank = self._blank
        self.settle()
        if not blank:
            for _ in self._homes:
                self._replace(b"", wiping=True)
        self._blank = True

    def reserve(self, size: int) -> bool:
        """Make sure that saves of up to `size` octets find their space already allocated.

        Settles, too, if that is still to be done. Costs nothing while both are known. Returns
        False, with the reason in `shortage`, if that can't be written, there is no space or `size`
        is beyond MAX_SIZE; the next call tries again.
        """
        self.shortage = None
        if self.settled and size <= self._capacity:  # as a rule, before each command
            return True
        try:
            self.settle()
        except StorageError as error:
            self.shortage = str(error)
            return False
        if size <= self._capacity:
            return True
        if size > MAX_SIZE:
            self.shortage = f"cannot reserve {size} octets: more than the {MAX_SIZE} of any record"
            return False
        extent = min(with_headroom(size + HEAD_SIZE), PLACE_SIZE)
        try:
            for home in self._homes:
                self._device.allocate(home.place * PLACE_SIZE, extent)
        except OSError as error:
            self.shortage = str(storage_error(f"reserve {size} octets", error))
            return False
        self._capacity = extent - HEAD_SIZE
        return True

    def _replace(self, content: bytes, *, wiping: bool = False) -> None:
        current = self._known()
        if current.sequence == MAX_SEQUENCE:
            raise StorageError("failed", f"cannot write {self._role}: its numbers are used up")
        home = self._homes[1 - current.home.place]
        self._write(Record(home, current.sequence + 1, content), wiping)

    def _write(self, record: Record, wiping: bool = False) -> None:
        """Write a record in its place; `wiping`: over all of the one that is there."""
        data, offset = record.encode(), record.home.place * PLACE_SIZE
        self._blank = False  # a write that fails may have left something, too
        try:
            if wiping:
                data = data.ljust(size(self._device.read(offset, HEAD_SIZE)), b"\0")
            self._device.write(offset, data)
        except OSError as error:
            raise storage_error(f"write {self._role}", error) from None
        self._current = record
        self.settled = True

    def _known(self) -> Record:
        if self._current is None:
            raise RuntimeError("a state file is loaded before anything else")
        return self._current

    def _read_undisturbed(self) -> tuple[list[Record], str]:
        """What `_judge` says, of a moment in which no writer disturbs it, if there is one."""
        for _ in range(_ATTEMPTS - 1):
            with suppress(EnvelopeError):
                ours, reason = self._judge(self._read())
                if not reason:
                    return ours, reason
        return self._judge(self._read())

    def _read(self) -> list[Record | None]:
        """The whole records, by place."""
        try:
            if self._device.size() > FILE_SIZE:
                raise StorageError(
                    "unsafe", f"cannot read {self._role}: it has more than {FILE_SIZE} octets"
                )
            return [read_record(self._device, home.place * PLACE_SIZE) for home in self._homes]
        except OSError as error:
            raise storage_error(f"read {self._role}", error) from None

    def _judge(self, found: list[Record | None]) -> tuple[list[Record], str]:
        """The records that belong here, and what no interrupted write explains."""
        ours: list[Record] = []
        strangers: list[Record] = []
        for record, home in zip(found, self._homes, strict=True):
            if record:
                (ours if record.home == home else strangers).append(record)
        short = _is_short(self._device)
        if not ours:
            raise self._refusal([record.home for record in strangers])
        if strangers:
            return ours, f"one place holds a record of {_called(strangers[0].home)}"
        if short:
            return ours, "it is shorter than it was made"
        if len(ours) == 2:
            return ours, _discord(*ours)
        return ours, ""

    def _refusal(self, strangers: list[Home]) -> EnvelopeError:
        here = self._homes[0].uuid
        for home in strangers:
            if home.uuid != here:
                return wrong_instance(home.uuid, here)
        if strangers:
            return damaged(f"it holds a record of {_called(strangers[0])}")
        return _no_record(self._device)


def owner(device: Device) -> UUID:
    """The instance that a whole record of the file names. Raises as `StateFile.load`."""
    try:
        for offset in (0, PLACE_SIZE):
            if record := read_record(device, offset):
                return record.home.uuid
        raise _no_record(device)
    except OSError as error:
        raise storage_error("read the state file", error) from None


def read_record(device: Device, offset: int) -> Record | None:
    """The record at `offset`, None if there is no whole one. Raises OSError, EnvelopeError."""
    head = device.read(offset, HEAD_SIZE)
    return parse(head + device.read(offset + HEAD_SIZE, size(head) - HEAD_SIZE))


def _no_record(device: Device) -> EnvelopeError:
    if device.read(0, len(BEGINNING)) == BEGINNING:
        return outdated("it is not a state file of two places")
    if _is_short(device):
        return truncated("it ends before its second place")
    return damaged("neither of its places holds a whole record")


def _is_short(device: Device) -> bool:
    return device.size() < PLACE_SIZE + HEAD_SIZE


def _discord(one: Record, other: Record) -> str:
    """What is wrong with two whole records beside each other; empty if nothing is."""
    distance = abs(one.sequence - other.sequence)
    if distance == 1:
        return ""
    if distance:
        return f"a write between numbers {one.sequence} and {other.sequence} is missing"
    if one.content != other.content:
        raise damaged(f"its places hold two different states with number {one.sequence}")
    return f"both places hold write number {one.sequence}"


def _called(home: Home) -> str:
    return f"place {home.place} of {home.role} of instance {home.uuid}"
