"""The messages between the daemon and the process with the module.

Every message is a canonical CBOR map that follows its length (32 bits, big-endian). The daemon
sends one request at a time; the first is `Open`, which is sent only once.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import Literal

from vtpmd.ipc.codec import Codec, MalformedMessageError

MAX_SIZE = 1 << 16
HEADER = struct.Struct(">I")

MechanismName = Literal["gcm", "key-wrap"]
"""The ways to wrap, by their names in the configuration, the best one first."""

FailureKind = Literal["refused", "missing", "unusable", "pin", "setup", "lost", "device"]


@dataclass(frozen=True)
class KekName:
    """How a KEK is found: CKA_LABEL, and CKA_ID in hexadecimal, empty if it has none.

    Raises ValueError for names that no KEK has.
    """

    label: str
    id: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[!-~]{1,128}", self.label):
            raise ValueError("the label of a key has up to 128 printable characters")
        if not re.fullmatch(r"([0-9a-f]{2}){0,128}", self.id):
            raise ValueError("the id of a key has up to 128 octets, in hexadecimal")


@dataclass(frozen=True)
class Sealed:
    """A wrapped DEK, by which KEK and how."""

    kek: KekName
    algorithm: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True)
class Open:
    """Load the module and log in; `serial` is empty if any will do.

    `mechanisms`: those that may be used, the best one first.
    """

    module: str
    token: str
    serial: str
    mechanisms: tuple[MechanismName, ...]
    pin: bytearray = field(repr=False)


@dataclass(frozen=True)
class Describe:
    """Repeat the reply to `Open`."""


@dataclass(frozen=True)
class Check:
    """Try whether wrapping would work; with `required` a KEK `base` has to exist."""

    base: str
    required: bool


@dataclass(frozen=True)
class Make:
    """Make the KEK `base` unless there is one."""

    base: str


@dataclass(frozen=True)
class Wrap:
    """Wrap under the newest version of `base`; if it is missing and `create` is set, make it."""

    base: str
    create: bool
    dek: bytearray = field(repr=False)
    context: bytes


@dataclass(frozen=True)
class Unwrap:
    """Unwrap."""

    sealed: Sealed
    context: bytes


@dataclass(frozen=True)
class Rewrap:
    """Unwrap, and wrap under the newest version of `base` from `first` on, as `Wrap` does."""

    sealed: Sealed
    context: bytes
    base: str
    first: int
    create: bool


@dataclass(frozen=True)
class Destroy:
    """Destroy all versions of `base`, of which there were at least `known`.

    `kek` is the one that the slot names.
    """

    base: str
    known: int
    kek: KekName


@dataclass(frozen=True)
class Opened:
    """The module and the token in use, and the algorithm that wraps."""

    library: str
    token: str
    serial: str
    model: str
    algorithm: str


@dataclass(frozen=True)
class Checked:
    """Wrapping would work."""


@dataclass(frozen=True)
class Made:
    """The KEK exists; `created` if it did not before."""

    created: bool


@dataclass(frozen=True)
class Unwrapped:
    """The DEK."""

    dek: bytearray = field(repr=False)


@dataclass(frozen=True)
class Destroyed:
    """They are destroyed; `elsewhere`: a key with the same id that has this other label."""

    elsewhere: str


@dataclass(frozen=True)
class Failed:
    """The request failed. `reason` is for people; `kind` says what has to happen:

    `refused` the wrapped DEK does not belong there; `missing` there is no such KEK;
    `unusable` the token or the KEK cannot do it; `pin` the PIN is wrong; `setup` somebody
    has to set module or token right; `lost` the session is over; `device` it may pass.
    """

    kind: FailureKind
    reason: str


Request = Open | Describe | Check | Make | Wrap | Unwrap | Rewrap | Destroy
Reply = Opened | Checked | Made | Sealed | Unwrapped | Destroyed | Failed

REQUESTS = Codec((Open, Describe, Check, Make, Wrap, Unwrap, Rewrap, Destroy))
REPLIES = Codec((Opened, Checked, Made, Sealed, Unwrapped, Destroyed, Failed))


def frame(body: bytes) -> bytearray:
    """Return a message with its length, which the sender wipes."""
    return bytearray(HEADER.pack(len(body))) + body


def body_size(header: bytes | bytearray) -> int:
    """How many octets follow. Raises MalformedMessageError for more than MAX_SIZE."""
    (size,) = HEADER.unpack(header)
    if size > MAX_SIZE:
        raise MalformedMessageError(f"a message of {size} octets, {MAX_SIZE} are permitted")
    return int(size)
