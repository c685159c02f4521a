"""The lease of an instance: which host's worker serves it, for hosts that share a state directory.

The locks of an instance are the kernel's, and on file systems of a network another kernel does not
always know of them. So whoever serves an instance leaves a file beside its state that says which
host, and in which boot of it. That host renews it, and removes it when the worker has ended. What
nobody has removed is never taken over by itself: a worker outlives its daemon, so a lease that is
not renewed says nothing of the TPM. A host that has booted since has no worker left.
"""

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from uuid import UUID

import trio

from vtpmd.api.text import printable
from vtpmd.encoding.moment import moment
from vtpmd.linux.errors import InUseError
from vtpmd.storage.atomic import write_all
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import read_file, storage_error
from vtpmd.telemetry.log import get_logger

from .registry import Registry

log = get_logger("lease")

LEASE = "lease.json"
FORMAT = 1
_NEW = f".{LEASE}"
_LATER = (
    f"{LEASE} has format {{}}, written by a newer vtpmd, whose host may serve the instance; if "
    "none does, `vtpmctl take-back` removes it"
)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_SIZE, _MAX_TEXT = 4096, 256
_MACHINE, _BOOT = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


class ServedElsewhereError(InUseError):
    """Another host serves the instance, or did so last."""


@dataclass(frozen=True)
class Lease:
    """A host by its name and machine id (empty where it has none), its boot, and when (UTC)."""

    host: str
    machine: str
    boot: str
    renewed: datetime = field(default_factory=lambda: datetime.now(UTC))

    def is_of(self, other: "Lease") -> bool:
        """Whether both are of one host, whenever that was booted."""
        return self.boot == other.boot or (self.host, self.machine) == (other.host, other.machine)

    def encode(self) -> bytes:
        """The file's content."""
        content = {"format": FORMAT, **asdict(self), "renewed": self.renewed.isoformat()}
        return json.dumps(content, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> "Lease | None":
        """What a file's content says, None if that is nothing.

        Raises StorageError for one of a later format: it may say that another host serves.
        """
        try:
            content = json.loads(data)
            if type(format_ := content["format"]) is int and format_ > FORMAT:
                raise StorageError("unsafe", _LATER.format(format_))
            renewed = moment(content["renewed"])
            texts = [content[name] for name in ("host", "machine", "boot")]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        whole = all(type(text) is str and len(text) <= _MAX_TEXT for text in texts)
        if type(format_) is not int or format_ != FORMAT or not whole:
            return None
        host, machine, boot = texts
        return cls(host, machine, boot, renewed)


@cache
def _identity() -> tuple[str, str]:
    machine = ""
    with suppress(OSError):
        machine = _MACHINE.read_text().strip()
    return machine, _BOOT.read_text().strip()


def ours() -> Lease:
    """A lease of this host, renewed now, by the name that it has now."""
    return Lease(socket.gethostname(), *_identity())


def demand_free(registry: Registry, uuid: UUID) -> None:
    """Raise ServedElsewhereError if another host has the lease of an instance.

    StorageError if there is one that can't be read; one that says nothing is passed over.
    """
    with registry.directory(uuid) as directory:
        found = _read(directory)
    if found is None or found.is_of(ours()):
        return
    raise ServedElsewhereError(
        f"host {printable(found.host)} serves it, or did so last: it said so at "
        f"{found.renewed:%Y-%m-%d %H:%M:%S} UTC. Stop it there; if that host is down for good, cut "
        "off from the storage, or this one under a former name, `vtpmctl take-back` takes it over"
    )


@asynccontextmanager
async def taken(registry: Registry, uuid: UUID) -> AsyncIterator[None]:
    """The lease is this host's from now on, unless the body fails.

    Raises ServedElsewhereError where another host was faster, for which it was free as well. It
    need not outlast a power cut, for the worker does not either. What can't be written is only
    logged: where there is no space, a TPM works all the same.
    """
    try:
        await trio.to_thread.run_sync(renew, registry, uuid)
        await trio.to_thread.run_sync(demand_free, registry, uuid)
        yield
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(give_up, registry, uuid)
        raise


def renew(registry: Registry, uuid: UUID) -> None:
    """Say that this host serves the instance; log what is in the way."""
    try:
        with registry.directory(uuid) as directory:
            found = _read(directory)
            if found is not None and not found.is_of(ours()):
                log.error("served-elsewhere", uuid=str(uuid), host=printable(found.host))
                return
            _write(directory)
    except StorageError as error:
        log.warning("lease-not-renewed", uuid=str(uuid), reason=str(error))


def give_up(registry: Registry, uuid: UUID) -> None:
    """Remove this host's lease, if it has it; log what is in the way."""
    try:
        with registry.directory(uuid) as directory:
            found = _read(directory)
            if found is not None and found.is_of(ours()):
                _remove(directory)
    except StorageError as error:
        log.warning("lease-kept", uuid=str(uuid), reason=str(error))


def clear(registry: Registry, uuid: UUID) -> None:
    """Remove the lease, whosever it is. Raises StorageError."""
    with registry.directory(uuid) as directory:
        _remove(directory)


def _write(directory: int) -> None:
    try:
        fd = os.open(_NEW, _FLAGS, 0o600, dir_fd=directory)
        try:
            write_all(fd, ours().encode())
        finally:
            os.close(fd)
        os.replace(_NEW, LEASE, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise storage_error(f"write {LEASE}", error) from None


def _remove(directory: int) -> None:
    try:
        with suppress(FileNotFoundError):
            os.unlink(LEASE, dir_fd=directory)
    except OSError as error:
        raise storage_error(f"remove {LEASE}", error) from None


def _read(directory: int) -> Lease | None:
    try:
        return Lease.decode(read_file(LEASE, _MAX_SIZE, dir_fd=directory))
    except StorageError as error:
        if error.kind == "missing":
            return None
        raise
