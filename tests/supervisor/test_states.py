"""The table of states: what leads where, and what each permits."""

import pytest

from vtpmd.api import problems
from vtpmd.api.names import AWAY, FAILED, INCOMING, LENT, LOCKED, RUNNING, STOPPED
from vtpmd.api.problems import OperationError, Problem
from vtpmd.supervisor.states import (
    GONE,
    REFUSALS,
    STARTING,
    TRANSITIONS,
    UNREADABLE,
    USED,
    WAITING,
    Act,
    Cause,
    Condition,
    Standing,
)

# One row per act: as which problem it is refused, in the order of STANDINGS; None: permitted.
STANDINGS = (
    *(STOPPED, RUNNING, LOCKED, FAILED, STARTING, WAITING, UNREADABLE, GONE),
    *(INCOMING, LENT, AWAY, USED),
)
ABSENT, DAMAGED = problems.NOT_FOUND, problems.STATE_REFUSED
RUNS, RESTS = problems.RUNNING_CONFLICT, problems.NOT_RUNNING
KEY, HOST = problems.KEY_UNAVAILABLE, problems.UNAVAILABLE
USES = problems.IN_USE
COMES, GOES = problems.STILL_TO_COME, problems.HANDED_OVER
CELLS: dict[Act, tuple[Problem | None, ...]] = {
    Act.START: (None, None, None, None, None, None, DAMAGED, ABSENT, None, None, None, None),
    Act.STOP: (None, None, None, None, None, None, None, ABSENT, None, None, None, USES),
    Act.END: (None, None, None, None, None, None, None, ABSENT, None, None, None, None),
    Act.UNLOCK: (None, None, None, None, None, None, None, ABSENT, None, None, None, None),
    Act.DELETE: (None, RUNS, None, None, None, None, None, ABSENT, None, None, None, None),
    Act.REPLACE: (None, RUNS, None, None, None, None, None, ABSENT, None, None, None, None),
    Act.BACK_UP: (None, None, None, None, None, None, DAMAGED, ABSENT, COMES, None, GOES, None),
    Act.SNAPSHOT: (None, None, None, None, None, None, DAMAGED, ABSENT, COMES, None, GOES, None),
    Act.CLONE: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, GOES, None),
    Act.REKEY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, GOES, None),
    Act.MIGRATE: (RESTS, None, RESTS, RESTS, HOST, KEY, DAMAGED, ABSENT, COMES, GOES, GOES, None),
    Act.CANCEL: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, None, None),
    Act.TICKET: (None, None, None, None, None, None, DAMAGED, ABSENT, COMES, None, None, None),
    Act.RECEIVE: (RESTS, None, RESTS, RESTS, HOST, KEY, DAMAGED, ABSENT, None, None, None, None),
    Act.MIGRATED: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, None, None),
    Act.TAKE_BACK: (None, None, None, None, HOST, KEY, None, ABSENT, None, None, None, None),
    Act.ACCEPT: (None, None, None, None, None, None, DAMAGED, ABSENT, COMES, None, None, None),
    Act.MOVE: (None, RUNS, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, None, None),
    Act.SET: (None, None, None, None, None, None, DAMAGED, ABSENT, None, None, None, None),
    Act.IDENTIFY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, None, None),
    Act.CERTIFY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, GOES, None),
    Act.RESET_LOCKOUT: (
        *(None, None, None, None, HOST, KEY, DAMAGED, ABSENT, COMES, None, GOES, None),
    ),
    Act.UPGRADE: (RESTS, None, RESTS, RESTS, HOST, KEY, DAMAGED, ABSENT, COMES, None, None, None),
    Act.READ_PCRS: (RESTS, None, RESTS, RESTS, None, None, None, ABSENT, COMES, None, None, None),
}


@pytest.mark.parametrize("act", Act, ids=lambda act: act.name)
def test_what_each_standing_permits(act: Act) -> None:
    assert set(REFUSALS) == set(STANDINGS)
    assert tuple(REFUSALS[standing].get(act) for standing in STANDINGS) == CELLS[act]


@pytest.mark.parametrize("row", STANDINGS)
@pytest.mark.parametrize("act", Act, ids=lambda act: act.name)
def test_what_is_asked_of_an_instance_is_answered_by_the_table(act: Act, row: str) -> None:
    """Each condition alone, of an instance that otherwise permits all: RUNNING or STOPPED."""
    state = RUNNING if CELLS[act][0] is RESTS else STOPPED
    if row in (STOPPED, RUNNING, LOCKED, FAILED):
        state = row
    standing = Standing(
        Condition(LOCKED if row == WAITING else state, "so"),
        gone=Act.DELETE if row == GONE else None,
        fault="torn" if row == UNREADABLE else None,
        attempting=row in (STARTING, WAITING),
        incoming=row == INCOMING,
        handover=row if row in (LENT, AWAY) else "ours",
        machine=4711 if row == USED else 0,
    )
    expected = CELLS[act][STANDINGS.index(row)]
    if row == WAITING and expected is None:
        expected = CELLS[act][STANDINGS.index(LOCKED)]
    if expected is None:
        standing.demand(act, "web1")
        return
    with pytest.raises(OperationError) as refused:
        standing.demand(act, "web1")
    assert refused.value.problem is expected


def test_whatever_happens_while_it_is_served_has_a_row() -> None:
    happens = {Cause.READY, Cause.AWAITED, Cause.KEY_UNAVAILABLE, Cause.REFUSED}
    for state in (STOPPED, LOCKED, FAILED):
        assert {cause for found, cause in TRANSITIONS if found == state} >= happens
    assert {cause for found, cause in TRANSITIONS if found == RUNNING} == {
        Cause.ASLEEP,
        Cause.AWAKE,
        Cause.CRASHED,
        Cause.STOP,
    }
    assert {cause for found, cause in TRANSITIONS if found == INCOMING} == {
        *(Cause.READY, Cause.AWAITED, Cause.CRASHED, Cause.STOP)
    }
    with pytest.raises(KeyError):
        Condition(RUNNING, "x").after(Cause.UNLOCKED, "y")
