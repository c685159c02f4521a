"""The instances directory: an instance is complete or absent."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from vtpmd.linux.errors import InUseError
from vtpmd.storage.atomic import write_file
from vtpmd.storage.directory import INSTANCES, DirectoryLock, ensure_directory, make_directory
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import DirectoryLockedError, EnvelopeError, StorageError
from vtpmd.storage.files import open_directory, read_file, storage_error
from vtpmd.storage.sealed import Stored, read_stored, rewrap
from vtpmd.storage.slot import Slot
from vtpmd.telemetry.log import get_logger

from . import condition_file, instance_directory
from .condition_file import CONDITION
from .instance_directory import META, remove_instance_directory
from .metadata import MAX_PUBLIC_FILE, Metadata, MetadataError
from .naming import name_fault
from .states import Condition

MAX_CERTIFICATES = 16
"""How many certificates an instance has at most."""
CERTIFICATE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\.pem")
_PREPARED, _REMOVED = ".new-", ".old-"

log = get_logger("registry")


@dataclass(frozen=True)
class Entry:
    """One directory. With a `fault` its metadata is a placeholder and is never written.

    `providers` are those that hold its wrapped key, empty if its state cannot be read. `former`:
    its condition under the last daemon, if that is known.
    """

    metadata: Metadata
    fault: str | None = None
    providers: frozenset[str] = frozenset()
    former: Condition | None = None


@dataclass(frozen=True)
class Contents:
    """What is put into the directory of instance `uuid`: sealed state, certificates by name."""

    uuid: UUID
    nvram: bytes = field(repr=False)
    certificates: Mapping[str, bytes]


class Registry:
    """The state directory and its instances. All methods block on the disk.

    Opening it takes the directory for this process alone. Raises InUseError, StorageError.
    """

    def __init__(self, state_dir: Path) -> None:
        self.state_fd = ensure_directory(state_dir)
        try:
            self._lock = DirectoryLock(self.state_fd)
            if INSTANCES not in os.listdir(self.state_fd):  # noqa: PTH208
                os.close(make_directory(INSTANCES, self.state_fd))
            self._root = open_directory(INSTANCES, self.state_fd)
        except DirectoryLockedError as error:
            os.close(self.state_fd)
            raise InUseError(f"{state_dir}: {error}") from None

    def close(self) -> None:
        """Release the directory."""
        os.close(self._root)
        os.close(self.state_fd)
        self._lock.close()

    def room(self) -> int:
        """How many octets there still is space for. Raises StorageError."""
        try:
            found = os.fstatvfs(self.state_fd)
        except OSError as error:
            raise storage_error("look for space", error) from None
        return found.f_bavail * found.f_frsize

    def load(self) -> list[Entry]:
        """Every instance; directories that a crash left incomplete are removed."""
        entries = []
        for name in sorted(os.listdir(self._root)):  # noqa: PTH208
            if name.startswith((_PREPARED, _REMOVED)):
                log.info("leftover-found", directory=name)
                self._clear_away(name)
            elif uuid := _canonical_uuid(name):
                entries.append(self._entry(uuid))
            else:
                log.warning("not-an-instance", directory=name)
        return _distinct(entries)

    def _entry(self, uuid: UUID) -> Entry:
        try:
            with self.directory(uuid) as fd:
                metadata = Metadata.decode(read_file(META, MAX_PUBLIC_FILE, dir_fd=fd))
                instance_directory.demand_layout(fd)
        except (EnvelopeError, MetadataError, StorageError) as error:
            return Entry(_nameless(uuid), str(error))
        if metadata.uuid != uuid:
            return Entry(_nameless(uuid), f"{META} belongs to instance {metadata.uuid}")
        if fault := name_fault(metadata.name, uuid):
            return Entry(_nameless(uuid), f"{META}: name {metadata.name}: {fault}")
        return Entry(metadata, providers=self._providers(uuid), former=self._former(uuid))

    def _providers(self, uuid: UUID) -> frozenset[str]:
        try:
            return frozenset(slot.provider for slot in self.envelope(uuid).slots)
        except (EnvelopeError, StorageError):
            return frozenset()  # reported at start

    def _former(self, uuid: UUID) -> Condition | None:
        try:
            with self.directory(uuid) as fd:
                data = read_file(CONDITION, condition_file.MAX_SIZE, dir_fd=fd)
        except (EnvelopeError, StorageError):
            return None  # it has never been served, or others had to do with the file
        return condition_file.decode(data)

    @contextmanager
    def directory(self, uuid: UUID) -> Iterator[int]:
        """The descriptor of an instance's directory."""
        fd = open_directory(str(uuid), self._root)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def claimed(self, uuid: UUID) -> Iterator[int]:
        """The descriptor of an instance's lock, for one holder at a time.

        It is for a worker to keep: as long as one lives, nobody else can claim its instance,
        whatever becomes of the supervisor. Raises InUseError, StorageError.
        """
        with self.directory(uuid) as fd, instance_directory.claimed(fd) as lock:
            yield lock

    @contextmanager
    def state_files(self, uuid: UUID) -> Iterator[list[int]]:
        """Descriptors of an instance's state files, for a worker.

        Raises StorageError, EnvelopeError.
        """
        with self.directory(uuid) as fd, instance_directory.opened_state(fd) as fds:
            yield fds

    @contextmanager
    def nvram(self, uuid: UUID) -> Iterator[int]:
        """A descriptor of an instance's permanent state that can't be written. Raises as above."""
        with self.directory(uuid) as fd, instance_directory.opened_nvram(fd) as nvram:
            yield nvram

    def prepare(self, metadata: Metadata) -> int:
        """The descriptor of the directory of a new instance, to be published or discarded.

        Its state files are complete and empty.
        """
        fd = make_directory(f"{_PREPARED}{metadata.uuid}", self._root, durable=False)
        try:
            write_file(fd, META, metadata.encode(), durable_name=False)
            instance_directory.furnish(fd, metadata.uuid)
        except StorageError:
            os.close(fd)
            self.discard(metadata.uuid)
            raise
        return fd

    def fill(self, directory: int, contents: Contents) -> None:
        """Give a directory that was prepared its state and certificates. Raises StorageError."""
        for name, certificate in contents.certificates.items():
            write_file(directory, name, certificate)
        instance_directory.replace_state(directory, contents.uuid, contents.nvram)

    @contextmanager
    def beside(self, metadata: Metadata) -> Iterator[int]:
        """A temporary directory like that of a new instance, for a trial."""
        directory = self.prepare(metadata)
        try:
            yield directory
        finally:
            os.close(directory)
            self.discard(metadata.uuid)

    def overwrite(self, metadata: Metadata, contents: Contents) -> int | None:
        """Replace the files of an instance without a worker; the previous generation.

        The sealed state changes in one step; volatile state of another time is removed before.
        Whoever calls has claimed the instance. Raises StorageError.
        """
        try:
            generation = self.envelope(metadata.uuid).header.generation
        except (EnvelopeError, StorageError):
            generation = None
        with self.directory(metadata.uuid) as fd:
            self.fill(fd, contents)
            write_file(fd, META, metadata.encode())
        return generation

    def certificates(self, uuid: UUID) -> dict[str, bytes]:
        """The certificates of an instance by file name. Raises StorageError."""
        with self.directory(uuid) as fd:
            names = sorted(filter(CERTIFICATE_NAME.fullmatch, os.listdir(fd)))  # noqa: PTH208
            if len(names) > MAX_CERTIFICATES:
                raise StorageError("unsafe", f"more than {MAX_CERTIFICATES} certificates are there")
            return {name: read_file(name, MAX_PUBLIC_FILE, dir_fd=fd) for name in names}

    def discard(self, uuid: UUID) -> None:
        """Remove what was prepared."""
        remove_instance_directory(f"{_PREPARED}{uuid}", self._root)

    def publish(self, uuid: UUID) -> None:
        """Make a prepared directory visible, durably; what fails has not been published."""
        prepared = f"{_PREPARED}{uuid}"
        fd = open_directory(prepared, self._root)
        try:
            instance_directory.settle(fd)
        finally:
            os.close(fd)
        try:
            self._rename(prepared, str(uuid))
        except StorageError:
            with suppress(OSError):
                os.rename(str(uuid), prepared, src_dir_fd=self._root, dst_dir_fd=self._root)
            raise

    def remove(self, uuid: UUID) -> None:
        """Remove an instance, durably: renaming its directory is the point of no return.

        Whoever calls has claimed the instance. Raises StorageError.
        """
        removed = f"{_REMOVED}{uuid}-{secrets.token_hex(4)}"
        self._rename(str(uuid), removed)
        self._clear_away(removed)

    def update(self, metadata: Metadata) -> None:
        """Replace an instance's metadata, durably."""
        with self.directory(metadata.uuid) as fd:
            write_file(fd, META, metadata.encode())

    def note_condition(self, uuid: UUID, condition: Condition) -> None:
        """Write down in which condition an instance is. Raises StorageError."""
        with self.directory(uuid) as fd:
            condition_file.write(fd, condition)

    def envelope(self, uuid: UUID) -> Envelope:
        """An instance's sealed state as far as it can be read without a key.

        Raises EnvelopeError, StorageError. The state of another instance is refused here: its key
        would be missed first, and a missing key is not what somebody has to look for.
        """
        envelope, _ = self.sealed(uuid)
        return envelope

    def sealed(self, uuid: UUID) -> tuple[Envelope, bytes]:
        """An instance's sealed state, as `envelope` and as it is stored. Raises as `envelope`."""
        with self.directory(uuid) as fd:
            return instance_directory.sealed_state(fd, uuid)

    def awaits(self, metadata: Metadata) -> bool:
        """Whether an instance's TPM is still to come. Raises as `envelope`."""
        if not metadata.incoming:
            return False
        with self.directory(metadata.uuid) as fd:
            return not instance_directory.holds_state(fd, metadata.uuid)

    def stored(self, uuid: UUID, *, durable: bool = False) -> Stored:
        """An instance's sealed state with the condition of its file. Raises as `envelope`.

        With `durable` no power cut takes back what is returned: a worker that was killed may have
        left it in the page cache alone.
        """
        with self.nvram(uuid) as fd:
            stored = read_stored(fd, uuid)
            try:
                if durable:
                    os.fsync(fd)
            except OSError as error:
                raise storage_error("make nvram durable", error) from None
            return stored

    def written(self, uuid: UUID) -> datetime:
        """When an instance's sealed state was written last. Raises StorageError, EnvelopeError."""
        with self.nvram(uuid) as fd:
            return datetime.fromtimestamp(os.fstat(fd).st_mtime, UTC)

    def rewrap(self, uuid: UUID, slots: Sequence[Slot]) -> None:
        """Replace the key slots of an instance without a worker.

        Whoever calls has claimed the instance. Raises EnvelopeError, StorageError.
        """
        with self.state_files(uuid) as fds:
            rewrap(fds, uuid, slots)

    def _clear_away(self, name: str) -> None:
        """Remove a directory that is not an instance; a failure is only logged."""
        try:
            remove_instance_directory(name, self._root)
        except StorageError as error:
            log.warning("leftover-kept", directory=name, reason=str(error))

    def _rename(self, old: str, new: str) -> None:
        try:
            os.rename(old, new, src_dir_fd=self._root, dst_dir_fd=self._root)
            os.fsync(self._root)
        except OSError as error:
            raise storage_error(f"rename {old}", error) from None


def _canonical_uuid(text: str) -> UUID | None:
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if str(uuid) == text else None


def _nameless(uuid: UUID) -> Metadata:
    created = datetime.fromtimestamp(0, UTC)
    return Metadata(str(uuid), uuid, created, "", "", (), uuid)


def _distinct(entries: list[Entry]) -> list[Entry]:
    """Of two instances with one name, the older one keeps it."""
    holders: dict[str, UUID] = {}
    result = []
    for entry in sorted(entries, key=lambda entry: entry.metadata.created):
        uuid = entry.metadata.uuid
        holder = holders.setdefault(entry.metadata.name, uuid)
        if holder != uuid:
            fault = f"instance {holder} has the same name {entry.metadata.name}"
            entry = Entry(_nameless(uuid), fault)
        result.append(entry)
    return result
