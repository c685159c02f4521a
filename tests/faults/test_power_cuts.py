"""The power goes during any file operation: what was acknowledged is there, nothing is half done.

A sample of the cuts is tried, always the same; with VTPMD_POWER_CUTS=all every one of them.
"""

import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.power import Reached, recorded
from tests.faults.power_scenarios import SCENARIOS, Host

SAMPLE = 40
ALL = os.environ.get("VTPMD_POWER_CUTS") == "all"
WAYS: tuple[Reached, ...] = ("none", "all", "some", "some")


def cuts(count: int) -> list[tuple[int, int]]:
    """When the power goes, and in which way: a sample, or all."""
    every = [(at, way) for at in range(count + 1) for way in range(len(WAYS))]
    return every if ALL else sorted(random.Random(0).sample(every, min(SAMPLE, len(every))))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_at_any_operation(name: str, tmp_path: Path) -> None:
    act, check = SCENARIOS[name]
    root = tmp_path / "disk"
    root.mkdir(0o700)
    with recorded(root) as recording, closing(Host(root)) as host:
        act(host, recording)
    for at, way in cuts(len(recording.operations)):
        left = tmp_path / "left"
        recording.cut(at, WAYS[way], random.Random(4 * at + way), left)
        with closing(Host(left)) as host:
            try:
                check(host, recording.acknowledged(at))
            except BaseException as error:
                cut = f"cut {at}, way {way} ({WAYS[way]}): {recording.operations[at : at + 1]}"
                error.add_note(cut[:400])
                raise
        shutil.rmtree(left)
