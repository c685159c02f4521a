"""Providers come from the configuration, built in or from another package's entry point."""

import sys
from pathlib import Path

import pytest

from vtpmd.kms.local import LocalProvider
from vtpmd.kms.provider import ConfigurationRefused
from vtpmd.kms.registry import build

MODULE = """
class Provider:
    type = "acme"

    def __init__(self, name, settings, state):
        self.name, self.settings, self.state = name, settings, state
"""
ENTRY_POINTS = """
[vtpmd.key_providers]
acme = acme_vtpmd:Provider
broken = acme_vtpmd:Missing
local = acme_vtpmd:Provider
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A third-party package as an installer leaves it."""
    packages = tmp_path / "packages"
    metadata = packages / "acme_vtpmd-1.0.dist-info"
    metadata.mkdir(parents=True)
    (packages / "acme_vtpmd.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-vtpmd\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages)])
    monkeypatch.delitem(sys.modules, "acme_vtpmd", raising=False)
    return packages


def test_built_in_provider(tmp_path: Path) -> None:
    providers = build({"host": {"type": "local"}, "other": {"type": "local"}}, tmp_path)
    assert list(providers) == ["host", "other"]
    assert isinstance(providers["other"], LocalProvider)
    assert providers["other"].name == "other"


@pytest.mark.usefixtures("installed")
def test_provider_of_another_package(tmp_path: Path) -> None:
    provider = build({"dc1": {"type": "acme", "url": "https://kms"}}, tmp_path)["dc1"]
    assert (provider.name, provider.type) == ("dc1", "acme")
    assert vars(provider)["settings"] == {"url": "https://kms"}
    assert vars(provider)["state"] == tmp_path


@pytest.mark.usefixtures("installed")
def test_no_other_package_takes_the_place_of_a_built_in_type(tmp_path: Path) -> None:
    assert isinstance(build({"host": {"type": "local"}}, tmp_path)["host"], LocalProvider)


@pytest.mark.usefixtures("installed")
def test_package_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRefused, match="cannot load type 'broken' from acme_vtpmd"):
        build({"dc1": {"type": "broken"}}, tmp_path)


@pytest.mark.parametrize("settings", [{}, {"type": "none"}, {"type": 5}])
def test_unknown_type_is_refused_with_the_known_ones(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(ConfigurationRefused, match=r"key provider host: .* known are .*local"):
        build({"host": settings}, tmp_path)
