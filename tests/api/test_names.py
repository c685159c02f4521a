"""The shared words: complete, consistent, and what vtpmctl and the routes rely on."""

from vtpmd.api import errors, names, problems
from vtpmd.attest.verdict import Status
from vtpmd.cli.output import HINTS
from vtpmd.supervisor.states import TRANSITIONS


def test_what_only_looks_is_known_to_the_audit_log() -> None:
    """Every GET but a backup, which takes secrets away, even if encrypted."""
    routes = [value for value in vars(names).values() if isinstance(value, names.Route)]
    looking = {route for route in routes if route.method == "GET"}
    assert looking - {names.BACKUP} == names.READS


def test_every_problem_is_listed_once_with_a_documented_exit_status() -> None:
    declared = [value for value in vars(problems).values() if isinstance(value, problems.Problem)]
    assert {problem.code: problem for problem in declared} == problems.PROBLEMS
    assert len(declared) == len(problems.PROBLEMS)
    assert all(400 <= problem.status < 600 for problem in declared)
    used = {problem.exit_status for problem in declared} | {
        0,
        errors.UNREACHABLE.exit_status,
        errors.FILE.exit_status,
        names.EXIT_INTERRUPTED,
        *map(int, Status),
        *names.EXIT_VERDICTS.values(),
    }
    assert used == set(names.EXIT_STATUSES)


def test_hints_are_for_problems_that_exist() -> None:
    assert set(HINTS) <= {*problems.PROBLEMS, errors.UNREACHABLE.code}


def test_every_state_can_be_reached_and_left() -> None:
    states = set(names.STATES)
    assert {state for state, _ in TRANSITIONS} == states
    assert set(TRANSITIONS.values()) == states
