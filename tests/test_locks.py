"""What scripts install is locked: every dependency, one version of each, with hashes."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "packaging" / "locks"
LOCKS = sorted(DIRECTORY.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def locked(file: Path) -> Iterator[tuple[Requirement, int]]:
    """Each requirement of a lock with the number of its hashes."""
    for entry in file.read_text().replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=sha256:[0-9a-f]{64}\b", entry)
        if requirement:
            yield Requirement(requirement), len(hashes)


def wanted(extra: str) -> list[Requirement]:
    """What pyproject.toml asks for, the build included."""
    project = PROJECT["project"]
    requires = PROJECT["build-system"]["requires"]
    return [Requirement(text) for text in (*project["dependencies"], *extras(extra), *requires)]


def extras(name: str) -> Iterator[str]:
    """What an extra asks for, also by the names of others."""
    for text in PROJECT["project"]["optional-dependencies"].get(name, []):
        if text.startswith(f"{PROJECT['project']['name']}["):
            for other in Requirement(text).extras:
                yield from extras(other)
        else:
            yield text


def test_there_is_a_lock_for_whatever_scripts_install() -> None:
    assert [file.stem for file in LOCKS] == ["fuzz", "package", "runtime", "test"]


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_every_file_has_a_hash(file: Path) -> None:
    assert [str(requirement) for requirement, hashes in locked(file) if not hashes] == []


@pytest.mark.parametrize("file", LOCKS, ids=lambda file: file.stem)
def test_a_lock_holds_what_the_project_asks_for(file: Path) -> None:
    versions = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in locked(file)
    }
    missing = [
        str(requirement)
        for requirement in wanted(file.stem)
        if not requirement.specifier.contains(
            versions.get(canonicalize_name(requirement.name), "0")
        )
    ]
    assert missing == [], "run scripts/lock"


@pytest.mark.parametrize("installed", ["runtime", "package"])
def test_what_is_tested_is_what_is_installed(installed: str) -> None:
    versions, tested = (
        {f"{requirement.name}{requirement.specifier}" for requirement, _ in locked(file)}
        for file in (DIRECTORY / f"{installed}.txt", DIRECTORY / "test.txt")
    )
    assert versions - tested == set(), "run scripts/lock"
