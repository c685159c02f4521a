"""What lower errors mean: the same wherever they are met."""

import errno
from collections.abc import Iterator
from typing import get_args

import pytest

from vtpmd.api import problems
from vtpmd.api.problems import OperationError, Problem
from vtpmd.ipc.messages import FailureKind
from vtpmd.linux.errors import InUseError
from vtpmd.pki.errors import ConflictError, DamagedError, RefusedError
from vtpmd.storage.errors import DirectoryLockedError, EnvelopeError, EnvelopeKind, StorageError
from vtpmd.storage.errors import StorageKind as Kind
from vtpmd.supervisor.errors import (
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
from vtpmd.supervisor.lease import ServedElsewhereError
from vtpmd.supervisor.refusals import EXPECTED, NotServedError, refusals
from vtpmd.supervisor.states import Cause
from vtpmd.supervisor.zygote import SpawnError

STORAGE: dict[Kind, Problem] = {
    "missing": problems.STATE_REFUSED,
    "exists": problems.UNAVAILABLE,
    "full": problems.UNAVAILABLE,
    "unsafe": problems.STATE_REFUSED,
    "locked": problems.UNAVAILABLE,
    "failed": problems.UNAVAILABLE,
}
FAILURES: dict[FailureKind, Problem] = {
    "key": problems.KEY_UNAVAILABLE,
    "damaged": problems.STATE_REFUSED,
    "newer": problems.STATE_REFUSED,
    "wrong-instance": problems.STATE_REFUSED,
    "storage": problems.UNAVAILABLE,
    "sandbox": problems.UNAVAILABLE,
    "busy": problems.UNAVAILABLE,
    "model": problems.INVALID,
    "certificates": problems.CERTIFICATES_REFUSED,
    "defect": problems.INTERNAL,
    "unknown": problems.INTERNAL,
}


def cases() -> Iterator[tuple[Exception, Problem, bool]]:
    """An error, its problem, and whether it is tried again."""
    for kind, problem in STORAGE.items():
        yield StorageError(kind, "x"), problem, kind in ("full", "failed")
    yield DirectoryLockedError(None), problems.UNAVAILABLE, False
    for damage in get_args(EnvelopeKind):
        yield EnvelopeError(damage, "x"), problems.STATE_REFUSED, False
    for failure, problem in FAILURES.items():
        yield WorkerFailedError(failure, "x"), problem, failure == "storage"
    yield KeyMissingError("x", retry=True), problems.KEY_UNAVAILABLE, True
    yield KeyMissingError("x", retry=False), problems.KEY_UNAVAILABLE, False
    yield HandOverRefusedError("x"), problems.HANDED_OVER, False
    yield WorkerRefusedError("x"), problems.UNAVAILABLE, False
    yield WorkerEndedError("x"), problems.INTERNAL, True
    yield RefusedError("x"), problems.CERTIFICATES_REFUSED, False
    yield ConflictError("x"), problems.CERTIFICATES_REFUSED, False
    yield DamagedError("x"), problems.UNAVAILABLE, False
    yield SpawnError("x"), problems.INTERNAL, True
    yield InUseError("x"), problems.RUNNING_CONFLICT, False
    yield ServedElsewhereError("x"), problems.RUNNING_CONFLICT, False
    yield RolledBackError("x"), problems.STATE_REFUSED, False
    yield KeeperLostError("x"), problems.UNAVAILABLE, False
    yield EndpointError("x"), problems.UNAVAILABLE, False
    yield FileExistsError("x"), problems.UNAVAILABLE, False
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS):
        yield OSError(number, "x"), problems.UNAVAILABLE, True


@pytest.mark.parametrize(
    ("error", "problem", "again"), list(cases()), ids=lambda each: getattr(each, "kind", None)
)
def test_an_error_is_one_problem_when_serving_and_when_asked(
    error: Exception, problem: Problem, again: bool
) -> None:
    failure = NotServedError.by(error)
    assert (failure.problem, failure.again) == (problem, again)
    locked = problem is problems.KEY_UNAVAILABLE
    assert failure.cause is (Cause.KEY_UNAVAILABLE if locked else Cause.REFUSED)
    with pytest.raises(OperationError) as refused, refusals():
        raise error
    assert refused.value.problem is problem
    assert refused.value.detail.endswith(f"{error}.")


def test_every_kind_has_a_meaning() -> None:
    assert STORAGE.keys() == set(get_args(Kind))
    assert FAILURES.keys() == set(get_args(FailureKind))
    assert set(EXPECTED) == {
        each for error, _, _ in cases() for each in type(error).__mro__ if each in EXPECTED
    }


def test_a_defect_stays_one() -> None:
    with pytest.raises(ZeroDivisionError), refusals():
        raise ZeroDivisionError


def test_the_rooms_errors_are_one_tree() -> None:
    for each in (KeyMissingError, WorkerFailedError, SpawnError, NotServedError, EndpointError):
        assert issubclass(each, SupervisorError)
