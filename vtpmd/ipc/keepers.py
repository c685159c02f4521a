"""Messages with which a keeper gives way to another one, of a new version of vtpmd.

    supervisor ──ReplaceKeeper, a channel──▶ predecessor          successor ──KeeperPrepared──▶ …
    predecessor ──HandOn for each TPM, HandedOn──▶ successor ──KeeperSucceeded──▶ predecessor, ends
    successor ──KeeperReplaced──▶ supervisor

The successor gets the predecessor's own channels, those to the supervisor and to workers included,
so that nobody else has to do anything. Until it has said that it has all it does nothing with what
it was given, and ends if it does not get all: so there is always exactly one keeper.
"""

from dataclasses import dataclass, field
from uuid import UUID

from .keeping import GiveBack
from .words import SandboxMode


@dataclass(frozen=True)
class ReplaceKeeper:
    """Give way to another keeper. One file descriptor: a channel to it."""


@dataclass(frozen=True)
class KeeperReplaced:
    """This keeper, of vtpmd `version`, has all that the one before had, this channel included."""

    version: str


@dataclass(frozen=True)
class KeeperNotReplaced:
    """This keeper goes on."""

    reason: str


@dataclass(frozen=True)
class KeeperPrepared:
    """The successor has its zygote: what it still needs is what there is to keep."""


@dataclass(frozen=True)
class HandOn:
    """One TPM that the predecessor knows.

    File descriptors: its serving lock and its progress, as in `Keep`; with `worker` the channel to
    the worker that serves it, whose version is `met` as two numbers, empty if it has not greeted
    yet; with `bequest` those of `Bequest`; if it sleeps, those of `GiveBack`, which is its `order`
    then. `due`: in how many milliseconds it is to be looked after, 0 if nothing is to be done.
    `failures`: how often it could not be woken lately.
    """

    uuid: UUID
    name: str
    sandbox: SandboxMode = "require"
    worker: bool = False
    met: tuple[int, ...] = ()
    bequest: bool = False
    order: tuple[GiveBack, ...] = field(default=(), repr=False)
    due: int = 0
    failures: int = 0


@dataclass(frozen=True)
class HandedOn:
    """That was all. `kept`: how many TPMs there were.

    File descriptors: the listener for daemons, the lock by which the kernel tells who the keeper
    is, and, if there is a daemon, the channel to that, whose version is `met`. `told`: it knows all
    that sleeps.
    """

    kept: int
    met: tuple[int, ...] = ()
    told: bool = False


@dataclass(frozen=True)
class KeeperSucceeded:
    """The successor has all of it: the predecessor ends, and does nothing any more."""
