"""The TPM as the control channel sees it, by role. Every method may raise ControlError."""

from dataclasses import dataclass
from typing import Protocol

from .table import MAX_LOCALITY, BlobType, Result

DEFAULT_BUFFER = 4096


class ControlError(Exception):
    """A command was refused; nothing has changed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.name)
        self.result = result


@dataclass
class ChannelSettings:
    """What clients set for the process, not for the TPM: it outlives INIT and STOP.

    QEMU does not tell its locality again after INIT. `max_locality` is the highest that a client
    may set; `buffer_size` in octets.
    """

    locality: int = 0
    max_locality: int = MAX_LOCALITY
    buffer_size: int = DEFAULT_BUFFER


@dataclass(eq=False)
class Connection:
    """One control connection, with the data descriptor that it has attached.

    `attached`: it has one, so QEMU is behind it, and no tool. `begun`: it has sent INIT or a TPM
    command, more than the ReadClock with which QEMU looks what version of TPM is there.
    """

    attached: bool = False
    begun: bool = False


class Power(Protocol):
    """Power on and off."""

    @property
    def running(self) -> bool: ...
    @property
    def buffer_sizes(self) -> tuple[int, int]:
        """The smallest and the largest buffer that the TPM works with, in octets."""

    def init(self, connection: Connection, *, delete_volatile: bool) -> None: ...
    def stop(self) -> None: ...
    def shutdown(self, connection: Connection) -> None: ...


class Measurement(Protocol):
    """Events from locality 4 and TPM_ACCESS' tpmEstablishment."""

    @property
    def established(self) -> bool: ...
    def reset_established(self, locality: int) -> bool: ...
    def hash_start(self) -> None: ...
    def hash_data(self, data: bytes) -> None: ...
    def hash_end(self) -> None: ...


class Migration(Protocol):
    """State blobs in and out."""

    def store_volatile(self) -> None: ...
    def state_blob(self, connection: Connection, kind: BlobType) -> bytes: ...
    def set_state_blob(self, connection: Connection, kind: BlobType, data: bytes) -> None: ...
    def hand_over(self, connection: Connection) -> None: ...
    def lock_storage(self, connection: Connection) -> None: ...
    def disconnected(self, connection: Connection) -> None: ...


class Host(Protocol):
    """All roles of one TPM."""

    @property
    def settings(self) -> ChannelSettings: ...
    @property
    def power(self) -> Power: ...
    @property
    def measurement(self) -> Measurement: ...
    @property
    def migration(self) -> Migration: ...
    def cancel(self) -> None: ...
    def info(self, mask: int) -> dict[str, object]: ...
