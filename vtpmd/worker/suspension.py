"""What one worker leaves to the next in a file in memory: the TPM as it is, and who uses it how.

The file holds an envelope (`storage.envelope`), sealed under the instance's DEK: a version, whose
place never changes, what `Suspended` says, and the TPM's two states. It is of use only beside the
very permanent state on disk that it was sealed beside.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vtpmd.encoding import cbor
from vtpmd.ipc.codec import Codec, MalformedMessageError
from vtpmd.storage.envelope import parse, seal
from vtpmd.storage.errors import damaged, newer
from vtpmd.storage.header import Handover
from vtpmd.storage.record import MAX_SIZE
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.wipe import wipe
from vtpmd.swtpm.host import Connection

VERSION = 1


@dataclass(frozen=True)
class Link:
    """A `swtpm.host.Connection`."""

    attached: bool = False
    begun: bool = False


@dataclass(frozen=True)
class Lent:
    """The state of hand-over; `reader` as `Links` counts, `declared_until` in monotonic ms."""

    state: Handover = "ours"
    begun: str = ""
    reader: int = 0
    successor: bool = False
    declared_until: int = 0


@dataclass(frozen=True)
class Suspended:
    """How a TPM is used. Connections and clients count from 1, in their order; 0 is none.

    `since`: monotonic ms, when it began to be served. `sealed`: monotonic microseconds. `controls`
    and `datas`: the connection of each client, whose descriptors come in this order. `pending`:
    received state waits, for a command of `pending_owner`. `durable`: the permanent state on the
    disk is known to be that. `resting`: what is stored is at rest, the TPM is not.
    """

    sealed: int
    since: int = 0
    locality: int = 0
    buffer_size: int = 0
    commands: int = 0
    dropped_octets: int = 0
    refused_descriptors: int = 0
    running: bool = False
    durable: bool = False
    links: tuple[Link, ...] = ()
    controls: tuple[int, ...] = ()
    datas: tuple[int, ...] = ()
    owner: int = 0
    attached: int = 0
    lent: Lent = field(default_factory=Lent)
    pending: bool = False
    pending_owner: int = 0
    resting: bool = False


_CODEC = Codec(orders=(Suspended,))


@dataclass(frozen=True)
class Suspension:
    """What is sealed: `volatile` is empty while the TPM is off."""

    use: Suspended
    permanent: bytes = field(repr=False)
    volatile: bytes = field(default=b"", repr=False)


class Links:
    """Connections by number, 0 for none, so that each is the same one wherever it is named."""

    def __init__(self, links: Iterable[Link] = ()) -> None:
        self._connections = [Connection(link.attached, link.begun) for link in links]

    def number(self, connection: Connection | None) -> int:
        """The number of a connection, a new one if it has none yet."""
        if connection is None:
            return 0
        for number, known in enumerate(self._connections, 1):
            if known is connection:
                return number
        self._connections.append(connection)
        return len(self._connections)

    def at(self, number: int) -> Connection | None:
        """The connection with this number. Raises EnvelopeError if there is none."""
        if number > len(self._connections):
            raise damaged("the suspended state names a connection that it does not have")
        return self._connections[number - 1] if number else None

    @property
    def links(self) -> tuple[Link, ...]:
        return tuple(Link(each.attached, each.begun) for each in self._connections)


def write(fd: int, state: SealedState, suspension: Suspension) -> None:
    """Seal it into the file in memory `fd`. Raises OSError, ValueError for more than MAX_SIZE."""
    use = _CODEC.encode(suspension.use)
    plain = cbor.encode([VERSION, use, suspension.permanent, suspension.volatile])
    header = replace(state.header, kind="suspended", dek_id=state.key.dek_id)
    data = seal(state.key.dek, header, state.key.slots, plain)
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], written)


def read(fd: int, state: SealedState) -> Suspension:
    """What was left for a TPM whose stored `state` is loaded. Raises EnvelopeError, OSError."""
    envelope = parse(os.pread(fd, MAX_SIZE + 1, 0))
    if replace(envelope.header, kind="permanent") != state.header:
        raise damaged("what is stored is not what was there when another worker gave way")
    plain = envelope.unseal(state.key.dek, state.header.uuid, "suspended")
    try:
        return _decode(bytes(plain))
    except (cbor.CborError, MalformedMessageError) as error:
        raise damaged(f"in suspended state, {error}") from None
    finally:
        wipe(plain)


def _decode(plain: bytes) -> Suspension:
    version, *parts = _items(cbor.decode(plain))
    if cbor.uint(version) > VERSION:
        raise newer(cbor.uint(version), VERSION)
    use, permanent, volatile = (cbor.octets(part) for part in cbor.array(parts, [3]))
    suspended = _CODEC.decode(use)
    assert isinstance(suspended, Suspended)  # the codec knows nothing else
    return Suspension(suspended, permanent, volatile)


def _items(value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise cbor.malformed("it is no array")
    return value
