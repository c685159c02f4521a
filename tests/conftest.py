"""What tests of whole TPMs share: which peer serves them, and a directory for their sockets."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline would judge the machine, and a random choice of examples makes failures that nobody
# else sees: scripts/fuzz is for exploring.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--peer",
        choices=("vtpmd", "swtpm"),
        default="vtpmd",
        help="who serves the TPM of conformance and guest tests; swtpm proves the tests themselves",
    )


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> str:
    name: str = pytestconfig.getoption("--peer")
    return name


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary directory whose path leaves room for the names of sockets (sun_path)."""
    path = Path(tempfile.mkdtemp(prefix="vtpm."))
    yield path
    shutil.rmtree(path)
