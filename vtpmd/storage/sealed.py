"""The stored state of one instance: permanent, volatile and received, sealed under one key."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from uuid import UUID

from .device import FileDevice
from .envelope import Envelope, Sealer, parse, seal
from .errors import EnvelopeError, StorageError, damaged
from .header import Header, Kind
from .key import Key
from .received import Received
from .record import ROLES
from .slot import Slot
from .state_file import Condition, Loaded, StateFile
from .wipe import wipe

_ENVELOPE_ROOM = 4096  # header and slots


@dataclass(frozen=True)
class Finding:
    """In what condition a file was loaded, with the reason for people if it was damaged."""

    kind: Kind
    condition: Condition
    reason: str


class SealedState:
    """The state files of instance `uuid`, sealed under `key`.

    `header` is that of the newest durable permanent state; `load` comes first. `findings` tells of
    what was loaded and was not whole. `unsaved` is a permanent state that is still to be stored,
    left here by whoever could not store it: until that or a newer one is, `reserve` says no.
    """

    def __init__(
        self, nvram: StateFile, volatile: StateFile, incoming: StateFile, uuid: UUID, key: Key
    ) -> None:
        self._nvram = nvram
        self._volatile = volatile
        self._incoming = incoming
        self._uuid = uuid
        self.key = key
        self.header = Header(uuid, 0, "permanent", key.dek_id)
        self.findings: list[Finding] = []
        self.unsaved: bytes | None = None
        self._size = 0
        self._sealer: Sealer | None = None
        self._sealed_alike: tuple[object, ...] = ()  # what all that `_sealer` seals has in common
        self._certain = True  # which key opens the permanent state on the disk

    @classmethod
    def of(cls, fds: Sequence[int], uuid: UUID, key: Key) -> "SealedState":
        """The state in the open files of an instance, whose descriptors come as in `ROLES`."""
        nvram, volatile, incoming = (
            StateFile(FileDevice(fd), uuid, role) for fd, role in zip(fds, ROLES, strict=True)
        )
        return cls(nvram, volatile, incoming, uuid, key)

    @property
    def generation(self) -> int:
        """How often the permanent state was written; of the newest that is durable."""
        return self.header.generation

    def create(self, permanent: bytes) -> None:
        """Store the first permanent state, in both places: none says that there was never one.

        Raises StorageError, `exists` if there is one already, and EnvelopeError.
        """
        if self._nvram.load().content is not None:
            raise StorageError("exists", "cannot create nvram: it holds a state already")
        self._volatile.load()
        self.save(permanent)
        self.repeat()

    def load(self) -> bytes:
        """The permanent state. Nothing is written: `settle` follows once it is accepted.

        Raises StorageError or EnvelopeError.
        """
        content = self._found("permanent", self._nvram.load())
        if content is None:
            raise damaged("it holds no state")
        envelope = parse(content)
        permanent = _take(envelope.unseal(self.key.dek, self._uuid))
        for file in self._volatile, self._incoming:
            with suppress(StorageError, EnvelopeError):  # told when it is wanted
                file.load(self._opens)
        self.header = envelope.header
        self._size = len(permanent)
        return permanent

    @property
    def durable(self) -> bool:
        """Whether the permanent state that was loaded or saved last is known to be durable."""
        return self._nvram.settled

    def trust(self) -> None:
        """Take what was loaded for durable: who has written it says so."""
        self._nvram.settled = True

    def await_first(self) -> None:
        """Get ready for the first permanent state instead of `load`. Raises as `create`."""
        if self._nvram.load().content is not None:
            raise StorageError("exists", "nvram holds a state already: nothing is awaited")
        for file in self._volatile, self._incoming:
            file.load()

    def adopt(self, key: Key) -> None:
        """Seal under a key that came with the first state. Nothing was stored under another."""
        wipe(self.key.dek)
        self.key = key
        self.header = replace(self.header, dek_id=key.dek_id)

    def repeat(self) -> None:
        """Store the permanent state once more, in the other place. Raises StorageError."""
        self._nvram.repeat()

    def settle(self) -> None:
        """Make durable what was loaded; where that can't be done, `reserve` says no."""
        with suppress(StorageError):  # where nothing can be written, the rest of the TPM works
            self._nvram.settle()

    def save(self, permanent: bytes, header: Header | None = None) -> None:
        """Make a new permanent state durable under the next generation. Raises StorageError.

        With `header`, its branch, epoch and state of hand-over are those from now on, and its
        generation is passed, too. After an error the state on the disk may be either, until a save
        succeeds.
        """
        stated = header or self.header
        generation = max(stated.generation, self.header.generation) + 1
        stated = replace(
            stated,
            uuid=self._uuid,
            kind="permanent",
            generation=generation,
            dek_id=self.key.dek_id,
        )
        self._nvram.save(self._sealer_of(stated).seal(generation, permanent))
        self.header = stated
        self.unsaved = None
        self._size = len(permanent)
        self._certain = True

    def save_unsaved(self) -> None:
        """Store what is still to be stored, if there is something. Raises StorageError."""
        if self.unsaved is not None:
            self.save(self.unsaved)

    def newest(self) -> bytes:
        """The permanent state that counts: `unsaved`, or the stored one. Raises as `load`."""
        return self.load() if self.unsaved is None else self.unsaved

    def reserve(self) -> bool:
        """Whether the next `save` will find its space; costs next to nothing when it will."""
        return self.unsaved is None and self._nvram.reserve(self._size + _ENVELOPE_ROOM)

    @property
    def shortage(self) -> str:
        """Why `reserve` said no."""
        return self._nvram.shortage or ""

    def load_volatile(self) -> bytes | None:
        """The stored volatile state, None without one. Raises StorageError or EnvelopeError.

        One of another branch belongs to permanent state that is no longer there: it is none.
        """
        content = self._found("volatile", self._volatile.load(self._opens))
        if content is None:
            return None
        envelope = parse(content)
        volatile = _take(envelope.unseal(self.key.dek, self._uuid, "volatile"))
        return volatile if envelope.header.branch == self.header.branch else None

    def save_volatile(self, volatile: bytes) -> None:
        """Store the volatile state. Raises StorageError.

        While a rekey that failed has left open which key opens the permanent state, the volatile
        state under either is kept: `save` comes first.
        """
        if not self._certain:
            raise StorageError("failed", "cannot write volatile: nvram has not been stored before")
        self._volatile.save(self._seal_volatile(volatile))

    def clear_volatile(self) -> None:
        """Forget the stored volatile state, if there is one. Raises StorageError."""
        self._volatile.clear()

    def received(self) -> Received | None:
        """The received state that waits beside our own. Raises StorageError or EnvelopeError."""
        content = self._found("incoming", self._incoming.load(self._opens))
        if content is None:
            return None
        envelope = parse(content)
        states = _take(envelope.unseal(self.key.dek, self._uuid, "incoming"))
        return Received.decode(envelope.header, states)

    def receive(self, received: Received) -> None:
        """Make received state durable beside our own, which stays. Raises StorageError.

        It takes the place of what was received before, even of what can't be read.
        """
        if not self._certain:
            raise StorageError("failed", "cannot write incoming: nvram has not been stored before")
        try:
            self._incoming.load(self._opens)
        except EnvelopeError:
            self._incoming.clear()
        self._incoming.save(self._seal_received(received))

    def forget_received(self) -> None:
        """Forget the received state, if there is some. Raises StorageError."""
        self._incoming.clear()

    @property
    def newer_waits(self) -> bool:
        """Whether received state is newer than our own: a write would let it seem older.

        Raises StorageError, EnvelopeError.
        """
        received = self.received()
        return received is not None and received.header.supersedes(self.header)

    def rekey(self, key: Key, permanent: bytes) -> None:
        """Seal under `key` from now on: `permanent` and what else is stored.

        Volatile and received state under the new key are stored beside those under the old, and the
        key of the permanent state decides between them: whenever it is cut short, all of it opens
        with the old key or all with the new one. Afterwards no place keeps what the old one opens:
        what is of no use any more, as the volatile state of another branch, is cleared.

        Raises StorageError, EnvelopeError, or ValueError for a key that can't be used: the old one
        stays in use.
        """
        volatile, received = self.load_volatile(), self.received()
        old, self.key = self.key, key
        try:
            if volatile is not None:
                self._volatile.save(self._seal_volatile(volatile))
            if received is not None:
                self._incoming.save(self._seal_received(received))
            self._certain = False
            self.save(permanent)
        except (StorageError, ValueError):
            self.key = old
            for file in self._volatile, self._incoming:
                with suppress(StorageError):
                    file.load(self._opens)
            raise
        if old.dek is not key.dek:
            wipe(old.dek)
        with suppress(StorageError):  # once more, so that no place keeps what the old key opens
            self.save(permanent)
            if volatile is not None:
                self.save_volatile(volatile)
            elif self._volatile.load().content is not None:
                self._volatile.clear()
            if received is not None:
                self.receive(received)
            elif self._incoming.load().content is not None:
                self._incoming.clear()

    def _sealer_of(self, header: Header) -> Sealer:
        """What seals permanent states with this header, whatever its generation."""
        alike = self.key, header.branch, header.epoch, header.handover
        if self._sealer is None or alike != self._sealed_alike:
            self._sealer = Sealer(self.key.dek, header, self.key.slots)
            self._sealed_alike = alike
        return self._sealer

    def _found(self, kind: Kind, loaded: Loaded) -> bytes | None:
        if loaded.condition != "whole":
            self.findings.append(Finding(kind, loaded.condition, loaded.reason))
        return loaded.content

    def _opens(self, content: bytes) -> bool:
        return parse(content).header.dek_id == self.key.dek_id

    def _seal_volatile(self, volatile: bytes) -> bytes:
        header = replace(self.header, kind="volatile", dek_id=self.key.dek_id)
        return seal(self.key.dek, header, self.key.slots, volatile)

    def _seal_received(self, received: Received) -> bytes:
        header = replace(received.header, kind="incoming", dek_id=self.key.dek_id)
        return seal(self.key.dek, header, self.key.slots, received.encode())


def holds_record(fd: int, uuid: UUID) -> bool:
    """Whether permanent state of instance `uuid` was ever stored in its open file.

    Raises StorageError, EnvelopeError.
    """
    return StateFile(FileDevice(fd), uuid, "nvram").load().content is not None


@dataclass(frozen=True)
class Stored:
    """Permanent state as a file has it, parsed and as it is stored.

    `damage`: what is wrong with the file and no interrupted write explains; empty if nothing is.
    """

    envelope: Envelope
    content: bytes = field(repr=False)
    damage: str = ""


def read_stored(fd: int, uuid: UUID) -> Stored:
    """The permanent state of instance `uuid` in its open file.

    Whoever wrote it, no more is read than a state file may hold, and the state of another instance
    is refused. The file may be written meanwhile. Raises StorageError, EnvelopeError.
    """
    loaded = StateFile(FileDevice(fd), uuid, "nvram").load()
    if loaded.content is None:
        raise damaged("it holds no state")
    envelope = parse(loaded.content)
    envelope.demand_instance(uuid)
    return Stored(envelope, loaded.content, loaded.reason)


def read_sealed(fd: int, uuid: UUID) -> tuple[Envelope, bytes]:
    """The same without the file's condition."""
    stored = read_stored(fd, uuid)
    return stored.envelope, stored.content


def rewrap(fds: Sequence[int], uuid: UUID, slots: Sequence[Slot]) -> None:
    """Replace the key slots of stored state, in every place of its open files; needs no key.

    Raises StorageError, EnvelopeError, and ValueError for slots that can't be used.
    """
    nvram, *others = (
        StateFile(FileDevice(fd), uuid, role) for fd, role in zip(fds, ROLES, strict=True)
    )
    dek_id = _rewrap(nvram, slots)
    if dek_id is None:
        raise damaged("it holds no state")
    for file in others:
        with suppress(EnvelopeError):  # told when it is wanted
            _rewrap(file, slots, lambda content: parse(content).header.dek_id == dek_id)


def _rewrap(
    file: StateFile, slots: Sequence[Slot], accept: Callable[[bytes], bool] | None = None
) -> bytes | None:
    """The id of the DEK under which the file's state is sealed, if it has any."""
    content = file.load(accept).content
    if content is None:
        return None
    envelope = parse(content)
    file.save(envelope.replace_slots(slots))
    file.repeat()
    return envelope.header.dek_id


def _take(plaintext: bytearray) -> bytes:
    """The engine wants bytes; the wipeable copy goes at once."""
    state = bytes(plaintext)
    wipe(plaintext)
    return state
