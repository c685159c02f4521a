"""A disk with a cache in front of it, for state files: it fails, dies and loses power when told.

Sectors of 512 octets reach the disk in any order, each whole or not at all.
"""

import errno
from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from vtpmd.storage.record import HEAD_SIZE, Home, Record, Role, with_headroom
from vtpmd.storage.state_file import PLACE_SIZE

SECTOR = 512
VM = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
OTHER_VM = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


class KilledError(Exception):
    """The process ended in the middle of a write."""


@dataclass
class Fault:
    """What becomes of a write: which of its sectors reach the cache, and which of them the disk."""

    kind: type[Exception]
    cached: Collection[int]
    stable: Collection[int]


@dataclass
class Disk:
    """The Device of a state file; `faults` are met by the next writes, one each."""

    stable: dict[int, bytes] = field(default_factory=dict)
    cached: dict[int, bytes] = field(default_factory=dict)
    length: int = 0
    faults: list[Fault | None] = field(default_factory=list)
    free: int = 1 << 40
    writes: list[tuple[int, bytes]] = field(default_factory=list)

    def size(self) -> int:
        return self.length

    def read(self, offset: int, size: int) -> bytes:
        size = max(0, min(size, self.length - offset))
        wanted = range(offset // SECTOR, (offset + size) // SECTOR + 1)
        run = bytearray(len(wanted) * SECTOR)  # what was never written is zero, and costs nothing
        for index in self.cached:
            if index in wanted:
                at = (index - wanted.start) * SECTOR
                run[at : at + SECTOR] = self.cached[index]
        begin = offset - wanted.start * SECTOR
        return bytes(memoryview(run)[begin : begin + size])

    def write(self, offset: int, data: bytes) -> None:
        self.writes.append((offset, data))
        sectors = self.sectors(offset, data)
        fault = self.faults.pop(0) if self.faults else None
        first, every = offset // SECTOR, range(len(sectors))
        self.length = max(self.length, offset + len(data))
        for side, reached in (
            (self.cached, fault.cached if fault else every),
            (self.stable, fault.stable if fault else every),
        ):
            side.update({first + at: sectors[first + at] for at in reached if at in every})
        if fault is not None:
            raise OSError(errno.EIO, "Input/output error") if fault.kind is OSError else fault.kind

    def allocate(self, offset: int, size: int) -> None:
        if size > self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.length = max(self.length, offset + size)

    def sectors(self, offset: int, data: bytes) -> dict[int, bytes]:
        """The sectors that a write changes, as they are after it."""
        assert offset % SECTOR == 0
        tail = self.read(offset + len(data), -len(data) % SECTOR).ljust(-len(data) % SECTOR, b"\0")
        whole = data + tail
        return {
            (offset + at) // SECTOR: whole[at : at + SECTOR] for at in range(0, len(whole), SECTOR)
        }

    def lose_power(self) -> None:
        """What was in the cache alone is gone."""
        self.cached = dict(self.stable)

    def put(self, offset: int, data: bytes) -> None:
        """Change what is stored behind everybody's back."""
        sectors = self.sectors(offset, data)
        self.cached.update(sectors)
        self.stable.update(sectors)

    def copy(self) -> "Disk":
        return Disk(dict(self.stable), dict(self.cached), self.length)


def fresh(content: bytes = b"", role: Role = "nvram", uuid: UUID = VM) -> Disk:
    """A disk with a state file as it is made."""
    disk = Disk(length=PLACE_SIZE + with_headroom(HEAD_SIZE + len(content)))
    disk.put(0, Record(Home(uuid, role, 0), 1, content).encode())
    disk.put(PLACE_SIZE, Record(Home(uuid, role, 1), 0, b"").encode())
    return disk
