"""Random walks through every part of a TPM: the engine and swtpm never disagree.

VTPMD_WALKS sets how many walks there are, VTPMD_WALKS_FROM the seed of the first.
"""

import os
import shutil

import pytest

from tests.differential.walk import reduced, walk

FIRST = int(os.environ.get("VTPMD_WALKS_FROM", "0"))
WALKS = int(os.environ.get("VTPMD_WALKS", "15"))
STEPS = range(400)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed"),
]


@pytest.mark.parametrize("seed", range(FIRST, FIRST + WALKS))
def test_a_walk(manufactured: bytes, seed: int) -> None:
    _agree(manufactured, seed)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(1, WALKS // 5)))
def test_a_walk_with_post_quantum_keys_at_hand(manufactured_pqc: bytes, seed: int) -> None:
    """What is classic is answered the same by a profile that has more."""
    _agree(manufactured_pqc, seed)


def _agree(manufactured: bytes, seed: int) -> None:
    outcome = walk(manufactured, seed, STEPS)
    if outcome.error:
        outcome = reduced(manufactured, seed, outcome, STEPS)
        pytest.fail("\n".join([*outcome.history[-40:], outcome.error]), pytrace=False)
    assert outcome.steps
