"""Every fuzzing target for a moment; scripts/fuzz goes on for as long as one likes.

VTPMD_FUZZ_EXAMPLES sets how many inputs each gets.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("VTPMD_FUZZ_EXAMPLES", "0"))
DEFAULTS = {"command": 400, "sequence": 200, "permanent_state": 500, "volatile_state": 400}


@pytest.mark.parametrize("name", TARGETS)
def test_target(name: str) -> None:
    @settings(
        max_examples=EXAMPLES or DEFAULTS.get(name, 1000),
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(max_size=400))
    def run(data: bytes) -> None:
        TARGETS[name](data)

    run()
