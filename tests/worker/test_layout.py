"""Code that runs is put side by side, and is what it was."""

import subprocess
import sys

import pytest

from vtpmd.worker.layout import scouted

SCRIPT = """
from vtpmd.worker import layout

def outer(number):
    return [inner(each) for each in range(number)]

def inner(number, more=1):
    '''What it says.'''
    return number + more

def never():
    return 2

def settled():
    return [id(each.__code__) for each in (outer, inner, never)]

before, expected = settled(), outer(3)
found = layout.scouted(lambda: outer(3))
assert found >= set(before[:2]), "the scout has not told what it ran"
assert before[2] not in found, "it has told more"
layout.gather(found)
moved = [one != other for one, other in zip(before, settled())]
assert moved == [True, True, False], moved
assert outer(3) == expected and inner.__doc__ == 'What it says.'
assert not layout.scouted(lambda: outer(3)) & set(before), "the old code still runs"
"""


def test_what_runs_is_moved_and_does_what_it_did() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_what_is_made_behind_filled_gaps_lies_side_by_side() -> None:
    script = (
        "from vtpmd.worker import layout\n"
        "sparse = [bytes(100) for _ in range(20000)][::7]\n"
        "layout.fill_gaps()\n"
        "kept = [bytes(100) for _ in range(50)]\n"
        "assert max(map(id, kept)) - min(map(id, kept)) < 1 << 14\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("fails", [True, False])
def test_a_scout_that_fails_tells_nothing_and_ends_alone(
    fails: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        if fails:
            raise ValueError

    assert bool(scouted(run)) is not fails
    assert capfd.readouterr() == ("", "")
