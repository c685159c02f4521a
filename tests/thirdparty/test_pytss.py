"""The test suite of tpm2-pytss, which starts an `swtpm` for each test: here that is vtpmd-swtpm.

`--peer swtpm` runs it against the real one, which proves the table below.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.vtpmd import COMMANDS
from tests.thirdparty import pytss

pytestmark = [pytest.mark.slow, pytest.mark.thirdparty]

TESTS, SKIPPED = 590, 20
"""With swtpm 0.7.1 of Debian 12: those for features newer than its tpm2-tss are skipped."""

DIFFERENCES = {
    "test.test_cryptography.TestCryptography::test_ecc_unsupported_curve": (
        "makes a key on BN_P256, which no profile has: the library that multiplies for us, in "
        "constant time, does not have that curve"
    ),
}
"""Tests that pass with swtpm and fail here, and why that is so on purpose."""


def test_the_suite_of_pytss_passes(peer: str, tmp_path: Path) -> None:
    try:
        pytss.obtain()
    except pytss.CannotObtainError as error:
        pytest.skip(str(error))
    environment = dict(os.environ)
    expected: frozenset[str] = frozenset()
    if peer == "vtpmd":
        (tmp_path / "swtpm").symlink_to(COMMANDS / "vtpmd-swtpm")
        environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
        expected = frozenset(DIFFERENCES)
    version = subprocess.run(
        ["swtpm", "--version"], env=environment, capture_output=True, text=True, check=False
    )
    assert ("vtpmd" in version.stdout) is (peer == "vtpmd"), version
    outcome = pytss.run(environment, tmp_path / "report.xml")
    assert outcome.failed == expected
    assert len(outcome.skipped) == SKIPPED
    assert len(outcome.passed) == TESTS - SKIPPED - len(expected)
