"""The table of states: what leads where, and what each permits."""

import pytest

from vtpmd.api import problems
from vtpmd.api.names import FAILED, LOCKED, RUNNING, STOPPED
from vtpmd.api.problems import Problem
from vtpmd.supervisor.states import (
    GONE,
    REFUSALS,
    STARTING,
    TRANSITIONS,
    UNREADABLE,
    WAITING,
    Act,
    Cause,
    Condition,
)

# One row per act: as which problem it is refused, in the order of STANDINGS; None: permitted.
STANDINGS = (STOPPED, RUNNING, LOCKED, FAILED, STARTING, WAITING, UNREADABLE, GONE)
ABSENT, DAMAGED = problems.NOT_FOUND, problems.STATE_REFUSED
RUNS, RESTS = problems.RUNNING_CONFLICT, problems.NOT_RUNNING
KEY, HOST = problems.KEY_UNAVAILABLE, problems.UNAVAILABLE
CELLS: dict[Act, tuple[Problem | None, ...]] = {
    Act.START: (None, None, None, None, None, None, DAMAGED, ABSENT),
    Act.STOP: (None, None, None, None, None, None, None, ABSENT),
    Act.UNLOCK: (None, None, None, None, None, None, None, ABSENT),
    Act.DELETE: (None, RUNS, None, None, None, None, None, ABSENT),
    Act.REPLACE: (None, RUNS, None, None, None, None, None, ABSENT),
    Act.BACK_UP: (None, None, None, None, None, None, DAMAGED, ABSENT),
    Act.SNAPSHOT: (None, None, None, None, None, None, DAMAGED, ABSENT),
    Act.CLONE: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.REKEY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.MIGRATE: (RESTS, None, RESTS, RESTS, HOST, KEY, DAMAGED, ABSENT),
    Act.MIGRATED: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.TAKE_BACK: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.ACCEPT: (None, None, None, None, None, None, DAMAGED, ABSENT),
    Act.SET: (None, None, None, None, None, None, DAMAGED, ABSENT),
    Act.IDENTIFY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.CERTIFY: (None, None, None, None, HOST, KEY, DAMAGED, ABSENT),
    Act.UPGRADE: (RESTS, None, RESTS, RESTS, HOST, KEY, DAMAGED, ABSENT),
    Act.READ_PCRS: (RESTS, None, RESTS, RESTS, None, None, None, ABSENT),
}


@pytest.mark.parametrize("act", Act, ids=lambda act: act.name)
def test_what_each_standing_permits(act: Act) -> None:
    assert set(REFUSALS) == set(STANDINGS)
    assert tuple(REFUSALS[standing].get(act) for standing in STANDINGS) == CELLS[act]


def test_whatever_happens_while_it_is_served_has_a_row() -> None:
    happens = {Cause.READY, Cause.ASLEEP, Cause.KEY_UNAVAILABLE, Cause.REFUSED}
    for state in (STOPPED, LOCKED, FAILED):
        assert {cause for found, cause in TRANSITIONS if found == state} >= happens
    assert {cause for found, cause in TRANSITIONS if found == RUNNING} == {
        Cause.ASLEEP,
        Cause.AWAKE,
        Cause.CRASHED,
        Cause.STOP,
    }
    with pytest.raises(KeyError):
        Condition(RUNNING, "x").after(Cause.UNLOCKED, "y")
