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


_SERVERS = {"swtpm", "zygote", "daemon", "stage", "bao", "server", "shared_token"}
"""Fixtures that start a process and wait for it."""
_SERVED = ("conformance", "faults", "standalone", "thirdparty")
"""Directories in which every test does."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what scripts/check leaves out: tests that need a process beside their own."""
    for item in items:
        directory = item.path.relative_to(Path(__file__).parent).parts[0]
        if directory in _SERVED or _SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.served)


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
