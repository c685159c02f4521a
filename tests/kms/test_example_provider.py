"""The example of a key provider of another package: installed, configured, and used."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from uuid import UUID

import pytest

from tests.kms.packages import note_installed
from vtpmd.config.loader import ConfigurationError, parse
from vtpmd.kms.provider import KeyContext

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "key_provider"
DEK = bytes(range(32))
CONTEXT = KeyContext(UUID(int=7), bytes(16))


def configuration(key_file: object) -> bytes:
    return f"""\
key_providers:
  - type: file-key
    name: host
    key_file: {key_file}
""".encode()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the example is installed."""
    pyproject = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    target = tmp_path_factory.mktemp("packages")
    for module in pyproject["tool"]["setuptools"]["py-modules"]:
        shutil.copy(EXAMPLE / f"{module}.py", target)
    project = pyproject["project"]
    note_installed(target, project["name"], project["version"], project["entry-points"])
    return target


@pytest.fixture
def installed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "vtpmd_file_key", raising=False)


@pytest.mark.usefixtures("installed")
async def test_it_is_found_configured_and_wraps(tmp_path: Path) -> None:
    key_file = tmp_path / "kek"
    key_file.touch(mode=0o600)
    key_file.write_bytes(os.urandom(32))
    (settings,) = parse(configuration(key_file), "file").key_providers
    provider = settings.open(tmp_path)
    slot = await provider.wrap(DEK, CONTEXT)
    assert (slot.provider_type, slot.provider, slot.key_ref) == ("file-key", "host", "kek")
    assert await provider.unwrap(slot, CONTEXT) == DEK


@pytest.mark.usefixtures("installed")
def test_its_settings_are_refused_with_their_line() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(configuration("relative"), "file")
    assert caught.value.problems == ["file:4: key_providers.0.key_file: the path must be absolute"]


def test_where_it_is_not_installed_its_type_is_unknown() -> None:
    with pytest.raises(ConfigurationError, match="there is no type 'file-key'"):
        parse(configuration("/kek"), "file")


def test_its_own_tests_pass(packages: Path) -> None:
    path = os.pathsep.join(map(str, (packages, ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
