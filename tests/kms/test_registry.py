"""Types of key providers come with vtpmd or from another package's entry point."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import vtpmd
from tests.kms import configured
from tests.kms.packages import note_installed
from vtpmd import kms
from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.local.provider import LocalProvider
from vtpmd.kms.registry import BUILT_IN_TYPES, GROUP, check, default

MODULE = """
from vtpmd.kms.local.provider import LocalProvider
from vtpmd.kms.settings import ProviderSettings

class AcmeSettings(ProviderSettings):
    url: str

    def open(self, state_dir):
        return LocalProvider(self.name, state_dir / self.url)

class PartialSettings(ProviderSettings):
    pass

def provider(name, settings, state_dir):
    pass
"""
ENTRY_POINTS = {
    "acme": "acme_vtpmd:AcmeSettings",
    "absent": "acme_vtpmd:Absent",
    "partial": "acme_vtpmd:PartialSettings",
    "another": "acme_vtpmd:provider",
    "local": "acme_vtpmd:AcmeSettings",
}
ACME = {"type": "acme", "name": "dc1", "url": "kms"}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package is installed."""
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "acme_vtpmd.py").write_text(MODULE)
    note_installed(packages, "acme-vtpmd", "1.0", {GROUP: ENTRY_POINTS})
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "acme_vtpmd", raising=False)


def test_the_default_is_a_keyring_of_this_host(tmp_path: Path) -> None:
    assert (default().type, default().name) == ("local", "local")
    assert isinstance(default().open(tmp_path), LocalProvider)


@pytest.mark.usefixtures("installed")
def test_a_type_of_another_package(tmp_path: Path) -> None:
    provider = configured.opened(LocalProvider, ACME, tmp_path)
    assert repr(provider) == f"LocalProvider('dc1', '{tmp_path}/kms')"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"url": 5}, "url: must be a valid string"),
        ({"uri": "x"}, "uri: unknown setting uri; did you mean url?"),
        ({"name": "DC 1"}, "name: String should match pattern"),
    ],
)
def test_settings_of_another_package_are_checked(wrong: dict[str, object], problem: str) -> None:
    (found,) = configured.problems(ACME | wrong)
    assert found.startswith(problem)


@pytest.mark.usefixtures("installed")
def test_no_other_package_takes_the_place_of_a_built_in_type() -> None:
    assert type(check({"type": "local", "name": "host"})) is type(default())


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "cannot load type 'absent' from acme_vtpmd:Absent: "),
        ("another", "acme_vtpmd:provider of type 'another' is not a subclass of ProviderSettings"),
        ("partial", "acme_vtpmd:PartialSettings of type 'partial' is not a subclass of Provider"),
    ],
)
def test_an_entry_point_that_cannot_be_used_is_named(kind: str, reason: str) -> None:
    (problem,) = configured.problems({"type": kind, "name": "dc1"})
    assert problem.startswith(f"type: {reason}")


@pytest.mark.parametrize("kind", ["none", 5, None, ["local"]])
def test_an_unknown_type_is_refused_with_the_known_ones(kind: object) -> None:
    (problem,) = configured.problems({"type": kind, "name": "host"})
    known = ", ".join(sorted(BUILT_IN_TYPES))
    assert problem == f"type: there is no type {kind!r}; known are {known}"


def test_every_package_of_a_provider_is_registered_and_keeps_the_contract() -> None:
    packages = {each.name for each in iter_modules(kms.__path__) if each.ispkg}
    types = {import_module(f"vtpmd.kms.{name}").TYPE for name in packages}
    assert types == set(BUILT_IN_TYPES)
    for name in packages:
        tests = import_module(f"tests.kms.{name}.test_provider")
        assert any(
            isinstance(each, type) and issubclass(each, KeyProviderContract)
            for each in vars(tests).values()
            if each is not KeyProviderContract
        ), name


def test_the_name_of_a_type_stands_once_in_the_code() -> None:
    found = Counter(
        text
        for room in ("kms", "config")
        for path in (Path(vtpmd.__path__[0]) / room).rglob("*.py")
        for text in _texts(ast.parse(path.read_text()))
    )
    assert {kind: found[kind] for kind in BUILT_IN_TYPES} == dict.fromkeys(BUILT_IN_TYPES, 1)


def _texts(node: ast.AST) -> Iterator[str]:
    """The string literals in a piece of source, but for the names of optional packages."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "require_package"):
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)
