"""What a disk holds when the power goes: every file operation below a directory is written down.

The operations are carried out, too. `Recording.cut` then says what the disk may hold when the power
goes during one of them. Of what had not been synced, writes have reached the disk or not, in any
order, each sector of 512 octets for itself; entries of a directory in their order, those of each
directory for themselves.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

Call = TypeVar("Call", bound=Callable[..., Any])
SECTOR = 512
Reached = Literal["none", "all", "some"]
"""What of all that was not synced has reached the disk."""


@dataclass(frozen=True)
class Write:
    """Octets written into a file; `durable` when the call has returned."""

    file: int
    offset: int
    data: bytes
    durable: bool = False


@dataclass(frozen=True)
class Resize:
    """A file gets this length, or this one at least."""

    file: int
    size: int
    truncate: bool


@dataclass(frozen=True)
class Entries:
    """Names of a directory that become those of files or directories, or of nothing; at once."""

    directory: int
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Sync:
    """All that was done to a file, or to the names in a directory, is durable."""

    target: int


@dataclass(frozen=True)
class Acknowledged:
    """Somebody was told that this is done."""

    what: object


Operation = Write | Resize | Entries | Sync | Acknowledged


class Recording:
    """The operations below `root`, in their order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.operations: list[Operation] = []
        self._ids = {root.stat().st_ino: 0}  # inode -> a number that is not used again
        self._directories = {0}

    def acknowledge(self, what: object) -> None:
        self.operations.append(Acknowledged(what))

    def acknowledged(self, count: int) -> list[object]:
        """What somebody was told during the first operations, in order."""
        done = self.operations[:count]
        return [each.what for each in done if isinstance(each, Acknowledged)]

    def cut(self, at: int, reached: Reached, chance: random.Random, target: Path) -> None:
        """Make in `target` what the disk may hold when the power goes during operation `at`."""
        done, synced = [*self.operations[:at]], set[int]()
        if at < len(self.operations) and isinstance(self.operations[at], Write):
            under_way = self.operations[at]
            assert isinstance(under_way, Write)
            done.append(Write(under_way.file, under_way.offset, under_way.data))
        certain = []
        for operation in reversed(done):
            certain.append(_is_durable(operation, synced))
            if isinstance(operation, Sync):
                synced.add(operation.target)
        _Disk(self._directories, reached, chance).build(
            zip(done, reversed(certain), strict=True), target
        )

    # What follows is what `recorded` puts in the place of functions of `os`.

    def made(self, number: int, directory: bool = False) -> int:
        """The number of a new file or directory that has this inode."""
        new = self._ids[number] = len(self._ids) + len(self.operations) + 1_000_000
        if directory:
            self._directories.add(new)
        return new

    def number(self, fd: int) -> int | None:
        """The number of an open file or directory, None if it is elsewhere."""
        return self._ids.get(os.fstat(fd).st_ino)

    def named(self, name: Any, dir_fd: int | None) -> tuple[int, str] | None:
        """Number of the directory and name in it, None for what is elsewhere."""
        if dir_fd is None:
            path = Path(os.fspath(name))
            if path == self.root or not path.is_relative_to(self.root):
                return None
            directory = self._ids.get(path.parent.stat().st_ino)
            return None if directory is None else (directory, path.name)
        directory = self.number(dir_fd)
        return None if directory is None else (directory, str(name))

    def inode(self, name: Any, dir_fd: int | None) -> int | None:
        """The number of what has a name, None if that is nothing."""
        try:
            return self._ids.get(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino)
        except FileNotFoundError:
            return None


def _is_durable(operation: Operation, synced: set[int]) -> bool:
    match operation:
        case Write():
            return operation.durable or operation.file in synced
        case Resize():
            return operation.file in synced
        case Entries():
            return operation.directory in synced
        case _:
            return True


class _Disk:
    def __init__(self, directories: set[int], reached: Reached, chance: random.Random) -> None:
        self._names: dict[int, dict[str, int]] = {each: {} for each in directories}
        self._pieces: dict[int, list[tuple[int, bytes]]] = {}
        self._sizes: dict[int, int] = {}
        self._lost: set[int] = set()  # directories of which all later entries are lost, too
        self._reached = reached
        self._chance = chance

    def build(self, operations: Iterator[tuple[Operation, bool]], target: Path) -> None:
        for operation, durable in operations:
            match operation:
                case Write():
                    self._write(operation, durable)
                case Resize() if durable or self._passes():
                    size = self._sizes.get(operation.file, 0)
                    exact = operation.truncate
                    self._sizes[operation.file] = (
                        operation.size if exact else max(size, operation.size)
                    )
                    if exact:
                        self._pieces[operation.file] = []
                case Entries():
                    self._enter(operation, durable)
        target.mkdir(mode=0o700)
        self._make(0, target)

    def _passes(self) -> bool:
        return self._reached == "all" or (self._reached == "some" and self._chance.random() < 0.5)

    def _write(self, write: Write, durable: bool) -> None:
        pieces = self._pieces.setdefault(write.file, [])
        if durable or self._reached == "all":
            pieces.append((write.offset, write.data))
        elif self._reached == "some":
            pieces += [
                (write.offset + at, write.data[at : at + SECTOR])
                for at in range(0, len(write.data), SECTOR)
                if self._passes()
            ]
        if pieces:
            end = max(offset + len(data) for offset, data in pieces)
            self._sizes[write.file] = max(self._sizes.get(write.file, 0), end)

    def _enter(self, entries: Entries, durable: bool) -> None:
        directory = entries.directory
        if not durable and (directory in self._lost or not self._passes()):
            self._lost.add(directory)
            return
        for name, number in entries.names:
            if number is None:
                self._names[directory].pop(name, None)
            else:
                self._names[directory][name] = number

    def _make(self, directory: int, path: Path) -> None:
        for name, number in self._names[directory].items():
            if number in self._names:
                (path / name).mkdir(mode=0o700)
                self._make(number, path / name)
                continue
            with (path / name).open("wb", buffering=0) as file:
                os.fchmod(file.fileno(), 0o600)
                file.truncate(self._sizes.get(number, 0))
                for offset, data in self._pieces.get(number, ()):
                    file.seek(offset)
                    file.write(data)


@contextmanager
def recorded(root: Path) -> Iterator[Recording]:
    """Record what this process does below `root`, which is empty."""
    recording = Recording(root)
    note = recording.operations.append
    with pytest.MonkeyPatch.context() as patch:
        real = {name: getattr(os, name) for name in _PATCHED}

        def replaces(name: str) -> Callable[[Call], Call]:
            def replace(function: Call) -> Call:
                patch.setattr(os, name, function)
                return function

            return replace

        @replaces("open")
        def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            place = recording.named(path, dir_fd) if flags & os.O_CREAT else None
            there = place is not None and recording.inode(path, dir_fd) is not None
            fd: int = real["open"](path, flags, mode, dir_fd=dir_fd)
            if place is not None and not there:
                number = recording.made(os.fstat(fd).st_ino)
                note(Entries(place[0], ((place[1], number),)))
            elif place is not None and flags & os.O_TRUNC and (old := recording.number(fd)):
                note(Resize(old, 0, truncate=True))
            return fd

        @replaces("mkdir")
        def _mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            place = recording.named(path, dir_fd)
            real["mkdir"](path, mode, dir_fd=dir_fd)
            if place is not None:
                inode = os.stat(path, dir_fd=dir_fd).st_ino
                note(Entries(place[0], ((place[1], recording.made(inode, directory=True)),)))

        def removing(name: str) -> Any:
            def remove(path: Any, *, dir_fd: int | None = None) -> None:
                place = recording.named(path, dir_fd)
                real[name](path, dir_fd=dir_fd)
                if place is not None:
                    note(Entries(place[0], ((place[1], None),)))

            return remove

        replaces("unlink")(removing("unlink"))
        replaces("rmdir")(removing("rmdir"))

        def naming(name: str, keeps: bool) -> Any:
            def act(
                old: Any, new: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
            ) -> None:
                source, target = recording.named(old, src_dir_fd), recording.named(new, dst_dir_fd)
                number = recording.inode(old, src_dir_fd)
                real[name](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
                if source is None or target is None:
                    return
                assert source[0] == target[0], "between directories nothing is known to be atomic"
                gone = () if keeps else ((source[1], None),)
                note(Entries(source[0], (*gone, (target[1], number))))

            return act

        replaces("rename")(naming("rename", keeps=False))
        replaces("replace")(naming("replace", keeps=False))
        replaces("link")(naming("link", keeps=True))

        @replaces("pwrite")
        def _pwrite(fd: int, data: Any, offset: int) -> int:
            written: int = real["pwrite"](fd, data, offset)
            if (number := recording.number(fd)) is not None:
                note(Write(number, offset, bytes(data)[:written]))
            return written

        @replaces("pwritev")
        def _pwritev(fd: int, buffers: Sequence[Any], offset: int, flags: int = 0) -> int:
            number = recording.number(fd)
            data = b"".join(map(bytes, buffers))
            written: int = real["pwritev"](fd, buffers, offset, flags)
            if number is not None:
                note(Write(number, offset, data[:written], bool(flags & os.RWF_DSYNC)))
            return written

        @replaces("posix_fallocate")
        def _fallocate(fd: int, offset: int, size: int) -> None:
            real["posix_fallocate"](fd, offset, size)
            if (number := recording.number(fd)) is not None:
                note(Resize(number, offset + size, truncate=False))

        @replaces("ftruncate")
        def _ftruncate(fd: int, size: int) -> None:
            real["ftruncate"](fd, size)
            if (number := recording.number(fd)) is not None:
                assert size == 0, "a file is cut to nothing, or not at all"
                note(Resize(number, size, truncate=True))

        def syncing(name: str) -> Any:
            def sync(fd: int) -> None:
                real[name](fd)
                if (number := recording.number(fd)) is not None:
                    note(Sync(number))

            return sync

        replaces("fsync")(syncing("fsync"))
        replaces("fdatasync")(syncing("fdatasync"))
        yield recording


_PATCHED = (
    *("open", "mkdir", "unlink", "rmdir", "rename", "replace", "link", "pwrite", "pwritev"),
    *("posix_fallocate", "ftruncate", "fsync", "fdatasync"),
)
