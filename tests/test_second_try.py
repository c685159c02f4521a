"""Only what waits for other processes gets a second try, and passes only if it passes then."""

from pathlib import Path

import pytest

from tests import conftest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FIRST_TIME = """
from pathlib import Path
import pytest

def first_time():
    marker = Path(__file__).with_suffix(".seen")
    return not marker.exists() and marker.touch() is None
"""
SERVED = "@pytest.mark.served\ndef test_served():\n    assert not first_time()\n"
PLAIN = "def test_plain():\n    assert not first_time()\n"
BROKEN = "@pytest.mark.served\ndef test_served():\n    assert False\n"


def run(directory: Path, *options: str) -> int:
    """The exit status of the tests in a directory, which run in this process."""
    where = (f"--rootdir={directory}", "-c", str(ROOT / "pyproject.toml"), str(directory))
    return pytest.main(["-q", "--import-mode=importlib", *options, *where], plugins=[conftest])


@pytest.mark.parametrize(
    ("modules", "passes"),
    [
        ([SERVED], True),
        ([SERVED, SERVED, SERVED], True),
        ([SERVED, SERVED, SERVED, SERVED], False),
        ([SERVED, PLAIN], False),
        ([BROKEN], False),
    ],
    ids=["one", "three", "four modules", "without a process", "twice failed"],
)
def test_second_try(tmp_path: Path, modules: list[str], passes: bool) -> None:
    for number, text in enumerate(modules):
        module = tmp_path / f"{tmp_path.name}_{number}.py"  # like no other of this process
        module.write_text(FIRST_TIME + text)
    assert run(tmp_path) == 1
    second = run(tmp_path, "--second-try", "--last-failed", "--last-failed-no-failures=none")
    assert (second == 0) is passes
