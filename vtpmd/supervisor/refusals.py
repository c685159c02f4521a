"""What errors of lower layers mean: for the state of an instance, and for whoever asked."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError, Problem
from vtpmd.linux.errors import InUseError
from vtpmd.linux.scarcity import is_scarcity
from vtpmd.pki.errors import ConflictError, DamagedError, RefusedError
from vtpmd.storage.errors import EnvelopeError, StorageError

from .errors import (
    EndpointError,
    HandOverRefusedError,
    KeeperLostError,
    KeyMissingError,
    RolledBackError,
    SupervisorError,
    WorkerEndedError,
    WorkerFailedError,
    WorkerRefusedError,
)
from .states import Cause
from .zygote import SpawnError


@dataclass(frozen=True)
class Meaning:
    """The cause of the state that follows and the problem; `again`: it may go better later."""

    cause: Cause
    problem: Problem
    again: bool = False


_KEY = Meaning(Cause.KEY_UNAVAILABLE, problems.KEY_UNAVAILABLE)
_STATE = Meaning(Cause.REFUSED, problems.STATE_REFUSED)
_HOST = Meaning(Cause.REFUSED, problems.UNAVAILABLE)
_STORAGE = Meaning(Cause.REFUSED, problems.UNAVAILABLE, again=True)
_IN_USE = Meaning(Cause.REFUSED, problems.RUNNING_CONFLICT)
_PROCESS = Meaning(Cause.REFUSED, problems.INTERNAL, again=True)

MEANINGS: dict[tuple[type[Exception], str | None], Meaning] = {
    (KeyMissingError, None): _KEY,
    (EnvelopeError, None): _STATE,
    (StorageError, "missing"): _STATE,
    (StorageError, "unsafe"): _STATE,
    (StorageError, "exists"): _HOST,
    (StorageError, "full"): _STORAGE,
    (StorageError, "locked"): _HOST,
    (StorageError, "failed"): _STORAGE,
    (WorkerFailedError, "key"): _KEY,
    (WorkerFailedError, "damaged"): _STATE,
    (WorkerFailedError, "newer"): _STATE,
    (WorkerFailedError, "wrong-instance"): _STATE,
    (WorkerFailedError, "storage"): _STORAGE,
    (WorkerFailedError, "sandbox"): _HOST,
    (WorkerFailedError, "certificates"): Meaning(Cause.REFUSED, problems.CERTIFICATES_REFUSED),
    (WorkerFailedError, "model"): Meaning(Cause.REFUSED, problems.INVALID),
    (WorkerFailedError, "busy"): _HOST,
    (WorkerFailedError, "defect"): Meaning(Cause.REFUSED, problems.INTERNAL),
    (WorkerFailedError, "unknown"): Meaning(Cause.REFUSED, problems.INTERNAL),
    (HandOverRefusedError, None): Meaning(Cause.REFUSED, problems.HANDED_OVER),
    (RolledBackError, None): _STATE,
    (WorkerRefusedError, None): _HOST,
    (KeeperLostError, None): _HOST,
    (RefusedError, None): Meaning(Cause.REFUSED, problems.CERTIFICATES_REFUSED),
    (ConflictError, None): Meaning(Cause.REFUSED, problems.CERTIFICATES_REFUSED),
    (DamagedError, None): _HOST,
    (WorkerEndedError, None): _PROCESS,
    (SpawnError, None): _PROCESS,
    (InUseError, None): _IN_USE,
    (EndpointError, None): _HOST,
    (OSError, None): _HOST,  # something is in the way of a socket, or there was a scarcity
}
"""By the type of an error and, where it has several, its kind."""

EXPECTED = tuple(dict.fromkeys(kind for kind, _ in MEANINGS))
"""Every error with a meaning; any other is a defect."""


def meaning(error: Exception) -> Meaning:
    """What one of the EXPECTED errors means."""
    keys = [(each, kind) for each in type(error).__mro__ for kind in (_kind(error), None)]
    return next(MEANINGS[key] for key in keys if key in MEANINGS)


def _kind(error: Exception) -> str | None:
    kind: str | None = getattr(error, "kind", None)
    return kind


class NotServedError(SupervisorError):
    """An attempt to serve an instance ended; `again`: the same may go better later."""

    def __init__(self, cause: Cause, problem: Problem, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.cause = cause
        self.problem = problem
        self.again = again

    @classmethod
    def by(cls, error: Exception) -> "NotServedError":
        """What one of the EXPECTED errors leads to."""
        meant = meaning(error)
        again = meant.again
        if isinstance(error, KeyMissingError):
            again = error.retry
        elif isinstance(error, OSError):
            again = is_scarcity(error)
        return cls(meant.cause, meant.problem, str(error), again)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the EXPECTED errors into OperationError."""
    try:
        yield
    except EXPECTED as error:
        where = "The state directory: " if isinstance(error, StorageError) else ""
        raise OperationError(meaning(error).problem, f"{where}{error}.") from None


async def side_by_side(*acts: Callable[[], Awaitable[None]]) -> list[OperationError | StorageError]:
    """Do all of them at the same time; how those ended that were refused or could not be stored."""
    refused: list[OperationError | StorageError] = []

    async def attempt(act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except (OperationError, StorageError) as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for act in acts:
            nursery.start_soon(attempt, act)
    return refused
