"""All attackers at once, for a short while; scripts/attack does it for long and judges strictly."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.attacks.together import Outcome, attack
from tests.faults.tracing import needs_root

pytestmark = [pytest.mark.served, pytest.mark.slow, needs_root]

QUIET, SECONDS = 3.0, 12.0
EXTEND, LIST = 250.0, 2000.0
"""Milliseconds, at p99: on a machine with much else to do, whether others are served at all."""
MEMORY = 64 << 20
LOG = 64 << 10
"""Octets of log per second, for all attackers together."""


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    try:
        return attack(directory, QUIET, SECONDS)
    finally:
        shutil.rmtree(directory)


def test_everybody_has_attacked(outcome: Outcome) -> None:
    assert all(outcome.rounds.values()), outcome.rounds


def test_nothing_of_others_is_lost(outcome: Outcome) -> None:
    assert outcome.lost == []


def test_other_machines_are_served(outcome: Outcome) -> None:
    assert outcome.attacked.extend.p99 < EXTEND


def test_administrators_are_served(outcome: Outcome) -> None:
    assert outcome.attacked.list.p99 < LIST


def test_log_grows_slowly(outcome: Outcome) -> None:
    assert outcome.octets < SECONDS * LOG, outcome.lines


def test_memory_is_bounded(outcome: Outcome) -> None:
    assert outcome.memory < MEMORY
