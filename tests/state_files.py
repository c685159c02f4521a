"""State files seen and changed from outside, by their path; the name says the role."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from vtpmd.storage.device import FileDevice
from vtpmd.storage.envelope import Envelope, parse
from vtpmd.storage.record import ROLES
from vtpmd.storage.state_file import PLACE_SIZE, StateFile, owner, read_record


def _bomb(levels: int, width: int) -> bytes:
    """CBOR of shared lists (tags 28 and 29), each of which holds the one before it many times."""
    head = b"\xd8\x1c" + bytes([0x80 | width])
    items = [head + bytes(width)]
    items += [head + (b"\xd8\x1d" + bytes([level])) * width for level in range(levels - 1)]
    return b"\xd8\x60" + bytes([0x80 | levels]) + b"".join(items)


BOMB = _bomb(20, 16)
"""A few hundred octets that are 16^20 values, to a decoder that believes them."""
PLACES = 0, PLACE_SIZE
"""Where the places of a state file begin."""


def content_of(path: Path, uuid: UUID | None = None) -> bytes | None:
    """What a state file holds, None if it is empty."""
    with _loaded(path, uuid) as (_, content):
        return content


def envelope_of(path: Path, uuid: UUID | None = None) -> Envelope:
    """The sealed state that a state file holds."""
    content = content_of(path, uuid)
    assert content is not None
    return parse(content)


def put(path: Path, content: bytes, uuid: UUID | None = None) -> None:
    """Store this content as a worker would, whatever it is: in both places."""
    with _loaded(path, uuid) as (file, _):
        file.save(content)
        file.repeat()


def current_place(path: Path) -> int:
    """The offset of the place with the newest record."""
    with path.open("rb") as file:
        records = {place: read_record(FileDevice(file.fileno()), place) for place in PLACES}
    sequences = {place: record.sequence for place, record in records.items() if record}
    return max(sequences, key=sequences.__getitem__)


def older_place(path: Path) -> int:
    """The offset of the other place."""
    return PLACE_SIZE - current_place(path)


def overwrite(path: Path, data: bytes, offset: int = 0) -> None:
    """Change what the disk has, behind everybody's back."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@contextmanager
def _loaded(path: Path, uuid: UUID | None) -> Iterator[tuple[StateFile, bytes | None]]:
    role = next(role for role in ROLES if role == path.name)
    with path.open("r+b") as opened:
        device = FileDevice(opened.fileno())
        file = StateFile(device, uuid or owner(device), role)
        yield file, file.load().content
