"""Writes that fail with an I/O error: what was refused is not forgotten, and all comes back."""

import re
from pathlib import Path

import pytest

from tests.faults.machine import (
    INCREMENT,
    RC_AUTH_FAIL,
    RC_FAILURE,
    RC_NV_UNAVAILABLE,
    WRONG_PASSWORD,
    Machine,
)
from tests.faults.tracing import needs_tracing, traced
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

WRITES = "pwritev2,pwrite64"


def failing(when: str = "1+") -> list[str]:
    """Options with which the writes of a traced process, counted like this, fail."""
    return ["-f", "-e", f"trace={WRITES}", "-e", f"inject={WRITES}:error=EIO:when={when}"]


def _available(instance: VtpmdInstance) -> bool:
    return bool(instance.info()["worker"]["storage"] == "available")


@needs_tracing
def test_input_output_error(host: Vtpmd, tmp_path: Path) -> None:
    """Nobody guesses for free: a failed try counts over resets, and on the disk in the end."""
    instance = host.create("failing")
    with Machine(instance) as machine:
        machine.define_indices()
        count, failures = machine.count(), machine.lockout_counter()
        with traced(instance.process(), tmp_path / "trace", *failing()):
            assert machine.code(WRONG_PASSWORD) == RC_FAILURE
            assert machine.lockout_counter() == failures + 1
            assert machine.code(WRONG_PASSWORD) == RC_NV_UNAVAILABLE
            assert machine.code(INCREMENT) == RC_NV_UNAVAILABLE
            assert machine.count() == count
            machine.extend(b"\x11" * 32)
            info = instance.info()
            assert info["state"] == "running"
            assert "Input/output error" in info["worker"]["storage"]
            assert "Input/output error" in info["reason"]
            assert "repair the storage" in info["reason"]
            listed = host.control("list")["instances"]
            reason = next(each["reason"] for each in listed if each["name"] == "failing")
            assert "Input/output error" in reason
            line = next(each for each in host.log().splitlines() if "storage-failing" in each)
            assert re.search(r"warning", line)
            machine.control.power_on()  # a reset
        wait_until(lambda: _available(instance), "the storage is back")
        wait_until(lambda: "error" not in instance.info()["reason"], "and it is told")
    instance.kill()
    with Machine(instance) as machine:
        assert machine.lockout_counter() == failures + 1
        assert machine.count() == count
        machine.succeed(INCREMENT)


@needs_tracing
@pytest.mark.parametrize("times", [1, 4])
def test_a_moment_of_errors(host: Vtpmd, tmp_path: Path, times: int) -> None:
    """The machine sees a slow answer, and no error."""
    instance = host.create(f"moment{times}")
    with Machine(instance) as machine:
        machine.define_indices()
        count, failures = machine.count(), machine.lockout_counter()
        with traced(instance.process(), tmp_path / "trace", *failing(f"1..{times}")):
            machine.succeed(INCREMENT)
            assert machine.code(WRONG_PASSWORD) == RC_AUTH_FAIL
        assert (machine.count(), machine.lockout_counter()) == (count + 1, failures + 1)
    instance.kill()
    with Machine(instance) as machine:  # one more failure: it was cut off
        assert (machine.count(), machine.lockout_counter()) == (count + 1, failures + 2)
