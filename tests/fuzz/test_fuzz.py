"""Every fuzzing target for a moment; scripts/fuzz goes on for as long as one likes.

VTPMD_FUZZ_SECONDS sets for how long each is fuzzed.
"""

import os
import time
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz import seeds
from tests.fuzz.mutation import mutator
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("VTPMD_FUZZ_SECONDS", "0"))
EXAMPLES = {"command": 150, "sequence": 20, "configuration": 20, "admin": 50}
"""Those that take longer; others get so many as DEFAULT_EXAMPLES says."""
DEFAULT_EXAMPLES = 150


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for octets in seeds.read(name).values():
        TARGETS[name](octets)


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    change = mutator(name)
    began, executions = time.monotonic(), 0

    def fuzz(data: bytes, number: int) -> None:
        nonlocal executions
        executions += 1
        TARGETS[name](change(data, Random(number)) if number else data)

    numbers = st.integers(0, (1 << 32) - 1)
    seeded = st.sampled_from(list(seeds.read(name).values()))

    @settings(
        max_examples=EXAMPLES.get(name, DEFAULT_EXAMPLES),
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(seeded | st.binary(max_size=400), numbers)
    def run(data: bytes, number: int) -> None:
        fuzz(data, number)

    run()
    while time.monotonic() - began < SECONDS:
        run()
    print(f"{name}: {executions} executions")
