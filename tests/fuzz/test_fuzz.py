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
MUTATIONS = {"command": 200, "sequence": 10, "configuration": 20, "admin": 100, "state_file": 100}
"""How many changed seeds those get that take longer than others."""
DEFAULT_MUTATIONS = 500
EXAMPLES = 25


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    for octets in seeds.read(name).values():
        TARGETS[name](octets)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds(name: str) -> None:
    """A failure is told with a number, which makes the same input again."""
    change, inputs = mutator(name), list(seeds.read(name).values())
    for number in range(MUTATIONS.get(name, DEFAULT_MUTATIONS)):
        random = Random(number)
        octets = change(random.choice(inputs), random)
        try:
            TARGETS[name](octets)
        except Exception as error:
            error.add_note(f"number {number}: {octets.hex()}")
            raise


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
        max_examples=EXAMPLES,
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
