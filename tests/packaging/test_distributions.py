"""The wheel and the sdist have what is promised of them: both are built, and looked into."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.share import SHARE

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", "build", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis")
)
BUILD = """
from setuptools import build_meta
build_meta.build_sdist(r"{0}")
build_meta.build_wheel(r"{0}")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with both, built from a copy of the sources."""
    top = tmp_path_factory.mktemp("distributions")
    shutil.copytree(ROOT, top / "source", ignore=LEFT_OUT)
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(top)],
        cwd=top / "source",
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    yield top
    shutil.rmtree(top)


def wheel(made: Path) -> dict[str, bytes]:
    """What is in the wheel; what goes below the environment begins with `share/`."""
    (path,) = made.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {
            re.sub(r"^[^/]+\.data/data/", "", name): archive.read(name)
            for name in archive.namelist()
        }


def sdist(made: Path) -> set[str]:
    (path,) = made.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def sources(*places: str) -> set[str]:
    """The files of vtpmd in some of its directories, or such files."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no clone, whose files git knows")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_has_man_pages_and_completions(made: Path) -> None:
    content = wheel(made)
    for path in SHARE.rglob("*"):
        if path.is_file():
            name = path.relative_to(SHARE).as_posix()
            assert content.get(f"share/{name}") == path.read_bytes(), name


@pytest.mark.parametrize(
    ("places", "below"),
    [
        (("config",), "config"),
        (("systemd",), "systemd"),
        (("packaging/apparmor",), "apparmor"),
        (("examples/libvirt",), "examples/libvirt"),
        (("examples/key_provider",), "examples/key_provider"),
    ],
    ids=lambda each: str(each),
)
def test_the_wheel_has_what_a_host_is_set_up_with(
    made: Path, places: tuple[str, ...], below: str
) -> None:
    content = wheel(made)
    for name in sources(*places):
        inner = f"share/vtpmd/{below}/{Path(name).relative_to(places[0]).as_posix()}"
        assert content.get(inner) == (ROOT / name).read_bytes(), name


def test_the_wheel_has_every_module_and_no_test(made: Path) -> None:
    content = wheel(made)
    assert {name for name in sources("vtpmd") if name not in content} == set()
    assert [name for name in content if name.startswith(("tests/", "packaging/"))] == []


def test_the_sdist_has_whatever_its_tests_and_documents_name(made: Path) -> None:
    """All that belongs to vtpmd, but for what git alone reads."""
    missing = sources(".") - sdist(made)
    assert missing == {".gitignore"}
