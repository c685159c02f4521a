"""Twenty seconds of what scripts/soak does for half an hour, and whether it would tell a loss."""

from pathlib import Path

import pytest

from tests.faults.machine import Machine
from tests.peers.vtpmd import Vtpmd
from tests.soak.machines import CountingMachine
from tests.soak.run import soak

pytestmark = [pytest.mark.served, pytest.mark.slow]
SECONDS = 20.0


def test_nothing_that_was_acknowledged_is_lost() -> None:
    outcome = soak(SECONDS, machines=3, seed=1)
    assert outcome.losses == []
    assert outcome.tally["commands answered"] > 100
    assert outcome.faults


def test_a_loss_would_be_told(short_path: Path) -> None:
    host = Vtpmd(short_path)
    try:
        instance = host.create("web1")
        counting = CountingMachine(instance, seed=1)
        counting.prepare()
        instance.stop()
        former = instance.nvram.read_bytes()
        instance.start()
        with Machine(instance) as machine:
            counting.work(machine, 20)
        counting.check()
        assert counting.losses == []
        instance.stop()
        instance.nvram.write_bytes(former)
        instance.start()
        counting.check()
        assert "increments, not" in counting.losses[0]
    finally:
        host.close()
