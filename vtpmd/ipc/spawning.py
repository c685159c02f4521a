"""Messages to a zygote, which forks workers, and what it says of them."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

ExitKind = Literal["exited", "killed", "unknown"]


@dataclass(frozen=True)
class ZygoteReady:
    """The engine is loaded: which profiles and PCR banks a TPM can be made with.

    `state_version`, `state_fields`: the version of the encoded state and its fields (`Class.field`)
    as this engine writes them; `retired_fields`: those that it reads besides.
    """

    profiles: tuple[str, ...]
    pcr_banks: tuple[str, ...]
    state_version: int = 0
    state_fields: tuple[str, ...] = ()
    retired_fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spawn:
    """Fork a worker.

    File descriptors: the worker's end of its channel and, for a worker that is to serve, the
    instance's serving lock, open for reading. The worker locks it for as long as it lives.
    """

    uuid: UUID
    name: str


@dataclass(frozen=True)
class Spawned:
    """The worker runs. One file descriptor: its pidfd."""

    pid: int


@dataclass(frozen=True)
class SpawnFailed:
    reason: str


@dataclass(frozen=True)
class ReadExit:
    """Ask the zygote how a worker ended."""

    pid: int


@dataclass(frozen=True)
class Exit:
    """How the worker `pid` ended; `number` is its exit status or the signal that ended it.

    Nothing is known of a worker that another zygote forked, or that has not ended.
    """

    pid: int
    how: ExitKind = "unknown"
    number: int = 0
