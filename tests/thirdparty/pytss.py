"""The source distribution of tpm2-pytss: fetched, built in a virtual environment, its tests run.

All of it is kept in build/pytss; what is there is not fetched or built again.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

VERSION = "3.0.0"
DIRECTORY = Path(__file__).parents[2] / "build" / "pytss"

_NAME = f"tpm2_pytss-{VERSION}"
_SOURCES = DIRECTORY / _NAME
_VENV = DIRECTORY / "venv"
_PYTHON = _VENV / "bin" / "python"
_BUILT = DIRECTORY / f"built-{VERSION}"
_LIBRARIES = ("tss2-esys", "tss2-fapi", "tss2-tctildr", "tss2-mu", "tss2-rc")


class CannotObtainError(Exception):
    """The suite is not here and cannot be had; the text says why."""


@dataclass(frozen=True)
class Outcome:
    """Tests by their names, `test.test_esapi.TestEsys::test_create`."""

    passed: frozenset[str]
    skipped: frozenset[str]
    failed: frozenset[str]


def obtain() -> None:
    """Fetch and build what is not there yet. Raises CannotObtainError."""
    if _BUILT.exists():
        return
    _need("gcc", "--version")
    _need("pkg-config", "--exists", *_LIBRARIES)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if not _PYTHON.exists():
        _run([sys.executable, "-m", "venv", _VENV])
    archive = DIRECTORY / f"{_NAME}.tar.gz"
    if not archive.exists():
        wanted = f"tpm2-pytss=={VERSION}"
        _pip("download", "--no-deps", "--no-binary", "tpm2-pytss", "--dest", DIRECTORY, wanted)
    _run(["tar", "-xzf", archive, "-C", DIRECTORY])
    _pip("install", archive, "pytest", "pytest-xdist")
    _BUILT.touch()


def run(environment: Mapping[str, str], report: Path) -> Outcome:
    """Run all tests of the suite; `report` is where pytest writes its XML."""
    done = subprocess.run(
        [
            *(_PYTHON, "-m", "pytest", "-c", "/dev/null", "--rootdir", _SOURCES),
            *("-n", "2", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "test"),
        ],
        cwd=_SOURCES,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    if not report.exists():
        raise AssertionError(f"the suite did not run: {done.stdout}{done.stderr}")
    return _read(report)


def _read(report: Path) -> Outcome:
    found: dict[str, set[str]] = {"passed": set(), "skipped": set(), "failed": set()}
    for case in ElementTree.parse(report).iter("testcase"):
        marks = {child.tag for child in case}
        kind = "failed" if marks & {"failure", "error"} else "passed"
        name = f"{case.get('classname')}::{case.get('name')}"
        found["skipped" if "skipped" in marks else kind].add(name)
    return Outcome(**{kind: frozenset(names) for kind, names in found.items()})


def _need(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise CannotObtainError(
            "gcc, pkg-config, python3-dev and libtss2-dev are needed to build tpm2-pytss"
        ) from None


def _pip(*arguments: str | Path) -> None:
    _run([_PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments])


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise CannotObtainError(f"{' '.join(map(str, command))}: {done.stderr[-2000:]}")
