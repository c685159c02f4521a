"""The same steps on two TPMs, whose answers have to be the same."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec

from tests.tpm.harness import Result, Tester
from vtpmd.tpm.rc import RC

P = ParamSpec("P")


def agreed(
    both: tuple[Tester, Tester],
    step: Callable[Concatenate[Tester, P], Result],
    *args: P.args,
    **named: P.kwargs,
) -> Result:
    """The result of a step, which is the same on both TPMs."""
    ours, theirs = (step(tester, *args, **named) for tester in both)
    assert (ours.rc, ours.parameters) == (theirs.rc, theirs.parameters)
    return ours


def agreed_after_retry(
    both: tuple[Tester, Tester],
    step: Callable[Concatenate[Tester, P], Result],
    *args: P.args,
    **named: P.kwargs,
) -> Result:
    """As `agreed`; libtpms asks once to retry what first uses a DA-protected value."""
    results = []
    for tester in both:
        result = step(tester, *args, **named)
        retried = result.rc == RC.RETRY
        results.append(step(tester, *args, **named) if retried else result)
    assert (results[0].rc, results[0].parameters) == (results[1].rc, results[1].parameters)
    return results[0]


def handle_error(code: int, number: int) -> int:
    """A response code positioned at a handle."""
    return code | number << 8


def parameter_error(code: int, number: int) -> int:
    """A response code positioned at a parameter."""
    return code | 0x40 | number << 8


def session_error(code: int, number: int) -> int:
    """A response code positioned at a session."""
    return code | 0x800 | number << 8
