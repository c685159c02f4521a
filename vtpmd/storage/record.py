"""Records: what a place of a state file holds, and how it says that it is whole and at home there.

A record, all integers big-endian::

    magic (8 octets)  format version (4)        in every version, now and later
    place (1)  role of the file (1)  zero (2)  instance UUID (16)  sequence (8)  length (8)
    SHA-256 of the 48 octets before and the content (32)
    content (`length` octets), an envelope; none in a record that says: cleared

The checksum tells what an interrupted write, a misdirected one or decay left behind from what was
written; against those who write on purpose the envelope protects itself.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from .errors import newer

Role = Literal["nvram", "volatile", "incoming"]
"""The state files of an instance: permanent, volatile and received state."""
ROLES: tuple[Role, ...] = get_args(Role)

MAX_SIZE = 4 << 20
"""The most octets that a record may hold, and an envelope may have."""
MAX_SEQUENCE = (1 << 64) - 1
"""The number of the last record that a file can hold; no honest one comes near it."""
BEGINNING = b"\xd8\x60\x84"
"""How every envelope begins, and no record: the tag 96, and an array of four items."""
RECORD_VERSION = 1

_MAGIC = b"vtpmd\r\n\x1a"
_VERSION = struct.Struct(">8sI")
_HEAD = struct.Struct(">8sIBBH16sQQ")
_STEP = 16 << 10  # more than one command can add
HEAD_SIZE = _HEAD.size + hashlib.sha256().digest_size


@dataclass(frozen=True)
class Home:
    """Where a record belongs: a place (0 or 1) of the file with this role of an instance."""

    uuid: UUID
    role: Role
    place: int


@dataclass(frozen=True)
class Record:
    """A whole record. `sequence` counts the writes of its file; no `content` means cleared."""

    home: Home
    sequence: int
    content: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The octets that `parse` reads. Raises ValueError for more than MAX_SIZE of content."""
        if len(self.content) > MAX_SIZE:
            raise ValueError(f"a record holds at most {MAX_SIZE} octets")
        head = _HEAD.pack(
            _MAGIC,
            RECORD_VERSION,
            self.home.place,
            1 + ROLES.index(self.home.role),  # zero is no role
            0,
            self.home.uuid.bytes,
            self.sequence,
            len(self.content),
        )
        return b"".join((head, _checksum(head, self.content), self.content))


def size(head: bytes) -> int:
    """How many octets the record has that begins with `head` (HEAD_SIZE octets).

    At most HEAD_SIZE + MAX_SIZE, whatever the head says; of the head alone if it is of no record.
    Raises EnvelopeError `newer` for a record of a later format version.
    """
    if len(head) < HEAD_SIZE:
        return HEAD_SIZE
    magic, version = _VERSION.unpack_from(head)
    if magic != _MAGIC:
        return HEAD_SIZE
    if version > RECORD_VERSION:
        raise newer(version, RECORD_VERSION)
    return HEAD_SIZE + min(int(_HEAD.unpack_from(head)[-1]), MAX_SIZE)


def parse(data: bytes) -> Record | None:
    """The record that `data` consists of; None if it is no whole one.

    Raises EnvelopeError `newer` for a record of a later format version.
    """
    if size(data[:HEAD_SIZE]) != len(data):
        return None
    head, checksum, content = data[: _HEAD.size], data[_HEAD.size : HEAD_SIZE], data[HEAD_SIZE:]
    if _checksum(head, content) != checksum:
        return None
    magic, version, place, role, zero, uuid, sequence, length = _HEAD.unpack(head)
    known = magic == _MAGIC and version == RECORD_VERSION and 1 <= role <= len(ROLES)
    if not known or zero or place > 1 or length != len(content):
        return None
    return Record(Home(UUID(bytes=uuid), ROLES[role - 1], place), sequence, content)


def with_headroom(size: int) -> int:
    """How much space to allocate where `size` octets are needed: steps, and a quarter more."""
    return (size + size // 4 + _STEP) // _STEP * _STEP + _STEP


def _checksum(head: bytes, content: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(content)
    return digest.digest()
