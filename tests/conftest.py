"""What tests of whole TPMs share: which peer serves them, and a directory for their sockets."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import groupby
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
    parser.addoption(
        "--second-try",
        action="store_true",
        help="with --last-failed: refuse what no busy machine excuses",
    )


_SERVERS = {
    *("swtpm", "zygote", "daemon", "empty_daemon", "host", "root", "stage"),
    *("server", "moto", "token", "shared_token", "busy"),
    *("stage_of", "bombing", "pretend"),
}
"""Fixtures that start a process and wait for it, or are where a test does."""
_SERVED = [
    Path(__file__).parent / path
    for path in (
        *("conformance", "faults", "standalone", "thirdparty"),
        *("cli/test_vtpmd.py", "storage/test_crash.py", "storage/test_state_file_killed.py"),
        *("worker/test_blanks.py", "worker/test_succession.py", "worker/test_zygote.py"),
        *("keeper/test_keeper.py", "supervisor/test_processes.py", "supervisor/test_sleep.py"),
        *("supervisor/test_zygote.py", "docs/test_commands.py"),
        *("operations/test_accept_rollback.py", "operations/test_incoming.py"),
    )
]
"""Where every test does."""


_MOST_MODULES = 3
"""In how many modules tests may have failed for a second try."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what scripts/check leaves out: tests that need a process beside their own."""
    for path, group in groupby(items, lambda item: item.path):
        everywhere = any(path.is_relative_to(served) for served in _SERVED)
        for item in group:
            if everywhere or not _SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.served)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse a second try unless few tests failed, all of which wait for other processes."""
    if not session.config.getoption("--second-try"):
        return
    alone = [item.nodeid for item in session.items if not _waits(item)]
    if alone:
        raise pytest.UsageError(f"no second try for what no process has a part in: {alone[:3]}")
    if len({item.path for item in session.items}) > _MOST_MODULES:
        raise pytest.UsageError(f"no second try: tests of over {_MOST_MODULES} modules failed")


def _waits(item: pytest.Item) -> bool:
    """Whether a test waits for other processes, so that a busy machine can make it fail."""
    return any(item.get_closest_marker(mark) for mark in ("served", "guest", "thirdparty"))


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
