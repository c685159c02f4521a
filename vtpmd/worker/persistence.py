"""Sealing and storing: what a worker knows of its DEK, its files and their generation."""

from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from vtpmd.storage.directory import NVRAM, VOLATILE
from vtpmd.storage.envelope import Header, Kind, parse, seal
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.slot import Slot
from vtpmd.storage.store import Store
from vtpmd.storage.wipe import wipe
from vtpmd.swtpm.table import BlobType

VOLATILE_NEXT = "volatile.next"
"""The volatile state under the key that a rekey is about to bring."""

_ENVELOPE_ROOM = 4096  # header and slots; the store adds headroom of its own


@dataclass(frozen=True)
class Key:
    """A DEK (32 bytes), its id (16 bytes) and the slots that carry it wrapped."""

    dek: bytearray = field(repr=False)
    dek_id: bytes
    slots: tuple[Slot, ...]


class Persistence:
    """The files of one instance, sealed under `key`.

    `generation` is that of the newest durable permanent state.
    """

    def __init__(self, store: Store, uuid: UUID, key: Key) -> None:
        self._store = store
        self._uuid = uuid
        self.key = key
        self._size = 0
        self.generation = 0

    def create(self, permanent: bytes) -> None:
        """Store the state of a new TPM. Raises StorageError, `exists` if there is one already."""
        self._store.create(NVRAM, self._seal(permanent, "permanent", 1))
        self.generation = 1

    def load(self) -> bytes:
        """The permanent state. Raises StorageError or EnvelopeError; the file stays as it is."""
        envelope = parse(self._store.read(NVRAM))
        permanent = envelope.unseal(self.key.dek, self._uuid)
        self.generation = envelope.header.generation
        self._size = len(permanent)
        return _take(permanent)

    def save(self, permanent: bytes) -> None:
        """Make a new permanent state durable under the next generation. Raises StorageError."""
        generation = self.generation + 1
        self._store.write(NVRAM, self._seal(permanent, "permanent", generation))
        self.generation = generation
        self._size = len(permanent)

    def reserve(self) -> bool:
        """Whether the next `save` will find its space; costs next to nothing when it will."""
        return self._store.reserve(self._size + _ENVELOPE_ROOM)

    @property
    def shortage(self) -> str:
        """Why `reserve` said no."""
        return self._store.shortage or ""

    def load_volatile(self) -> bytes | None:
        """The stored volatile state, None without one. Raises StorageError or EnvelopeError."""
        self._finish_rekey()
        data = self._read_volatile(VOLATILE)
        if data is None:
            return None
        return _take(parse(data).unseal(self.key.dek, self._uuid, "volatile"))

    def save_volatile(self, volatile: bytes) -> None:
        """Store the volatile state. Raises StorageError."""
        self._store.write(VOLATILE, self._seal(volatile, "volatile", self.generation))

    def delete_volatile(self) -> None:
        """Remove the stored volatile state if there is one. Raises StorageError."""
        self._store.remove(VOLATILE)
        self._store.remove(VOLATILE_NEXT)

    def export(self, kind: BlobType, state: bytes) -> bytes:
        """A state blob for another host: sealed, with the slots that open it there."""
        return self._seal(bytes([kind]) + state, "migration", self.generation)

    def import_(self, kind: BlobType, blob: bytes) -> tuple[bytes, int]:
        """The state in a blob and its generation. Raises EnvelopeError."""
        envelope = parse(blob)
        payload = envelope.unseal(self.key.dek, self._uuid, "migration")
        if payload[:1] != bytes([kind]):
            wipe(payload)
            raise EnvelopeError("damaged", f"the state blob is not of type {kind.name.lower()}")
        return _take(payload)[1:], envelope.header.generation

    def rekey(self, key: Key, permanent: bytes) -> None:
        """Seal under `key` from now on: `permanent` and, if it is stored, the volatile state.

        Whenever it is cut short, all of it opens with the old key or all with the new one. Raises
        StorageError, EnvelopeError, or ValueError for a key that can't be used: the old one stays.
        """
        volatile = self.load_volatile()
        old, self.key = self.key, key
        try:
            if volatile is not None:
                sealed = self._seal(volatile, "volatile", self.generation + 1)
                self._store.write(VOLATILE_NEXT, sealed)
            self.save(permanent)
        except (StorageError, ValueError):
            self.key = old
            raise
        if old.dek is not key.dek:
            wipe(old.dek)
        with suppress(StorageError):  # the next load_volatile goes on with it
            self._finish_rekey()

    def _finish_rekey(self) -> None:
        """Let the volatile state of a rekey take its place, if the permanent state has done so."""
        data = self._read_volatile(VOLATILE_NEXT)
        if data is None:
            return
        if parse(data).header.dek_id == self.key.dek_id:
            self._store.write(VOLATILE, data)
        self._store.remove(VOLATILE_NEXT)

    def _read_volatile(self, name: str) -> bytes | None:
        try:
            return self._store.read(name)
        except StorageError as error:
            if error.kind == "missing":
                return None
            raise

    def _seal(self, state: bytes, kind: Kind, generation: int) -> bytes:
        header = Header(self._uuid, generation, kind, self.key.dek_id)
        return seal(self.key.dek, header, self.key.slots, state)


def _take(plaintext: bytearray) -> bytes:
    """The engine wants bytes; the wipeable copy goes at once."""
    state = bytes(plaintext)
    wipe(plaintext)
    return state
