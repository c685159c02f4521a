"""Messages about protection against dictionary attacks; the rules for them are in `rules`."""

from dataclasses import dataclass
from uuid import UUID

from vtpmd.storage.header import Handover
from vtpmd.storage.key import Key

from .words import FailureKind, SandboxMode


@dataclass(frozen=True)
class ResetLockout:
    """Forget failed authorizations of the TPM that is served; between two commands, durably."""


@dataclass(frozen=True)
class ResetStoredLockout:
    """The same in a stored TPM.

    File descriptors: its state files and its lock. `handover`: what the supervisor remembers.
    """

    uuid: UUID
    name: str
    key: Key
    sandbox: SandboxMode = "require"
    handover: Handover = "ours"


@dataclass(frozen=True)
class LockoutReset:
    """It is done and durable. There were `failed_tries`; `lockout`: it was in lockout.

    `remains`: it still is, as its owner permits no tries.
    """

    failed_tries: int
    lockout: bool
    remains: bool = False


@dataclass(frozen=True)
class LockoutNotReset:
    """The TPM stays as it was, unless the `kind` is "storage": then it may be done in memory."""

    kind: FailureKind
    reason: str
