"""The version with which each side of a channel begins: a packet whose shape never changes.

Both sides send it before anything else and without being asked, so that each can judge the other
before it reads a message. Two versions understand each other if their major numbers are the same:

- The minor number grows when a message or a field is added. Reports with more or fewer fields are
  read all the same (see `codec`); an order that is too new for its receiver is refused by it.
- The major number grows when a message, a field or a file descriptor changes its meaning or goes.

One order has no version: SIGTERM ends a worker as Stop does, its TPM shut down in order and stored.

What happens between versions that do not understand each other is decided by `Channel.receive`,
which raises VersionError. A supervisor meets such a worker only after an update of the package,
and then leaves it serving (`supervisor.worker.attach`).
"""

import struct
from dataclasses import dataclass

_MAGIC = b"vtpmdIPC"
_GREETING = struct.Struct(">8sHH")
GREETING_SIZE = _GREETING.size


@dataclass(frozen=True)
class Version:
    """A version of the protocol: both numbers have 16 bits."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    def understands(self, other: "Version") -> bool:
        """Whether messages of `other` can be read."""
        return self.major == other.major


PROTOCOL = Version(1, 0)


def greeting(version: Version) -> bytes:
    """The packet that begins a conversation."""
    return _GREETING.pack(_MAGIC, version.major, version.minor)


def read_greeting(packet: bytes) -> Version | None:
    """The version in a packet; None if it is no greeting."""
    if len(packet) != GREETING_SIZE:
        return None
    magic, major, minor = _GREETING.unpack(packet)
    return Version(major, minor) if magic == _MAGIC else None
