"""What may stand in the configuration, and what is said when the package is not installed."""

import re
import sys
from pathlib import Path

import pytest

from vtpmd.config.loader import ConfigurationError, parse
from vtpmd.config.schema import Pkcs11Provider as Entry
from vtpmd.kms.pkcs11.provider import Pkcs11Provider
from vtpmd.kms.provider import ConfigurationRefused
from vtpmd.kms.registry import build

EXAMPLE = Path(__file__).parents[3] / "config/vtpmd.yaml"
SETTINGS = {"type": "pkcs11", "module": "/m.so", "token": "vtpmd", "pin_file": "/pin"}


def test_the_example_in_the_configuration_is_one(tmp_path: Path) -> None:
    block = re.search(r"^#  - type: pkcs11\n(#    .*\n)+", EXAMPLE.read_text(), re.MULTILINE)
    assert block is not None
    text = "key_providers:\n" + re.sub("^#", "", block[0], flags=re.MULTILINE)
    (entry,) = parse(text.encode(), "example").key_providers
    assert isinstance(entry, Entry)
    assert entry.environment == {"SOFTHSM2_CONF": "/etc/vtpmd/softhsm2.conf"}
    provider = build({"hsm": entry.settings()}, tmp_path)["hsm"]
    assert isinstance(provider, Pkcs11Provider)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"module": "softhsm.so"}, "module: .*the path must be absolute"),
        ({"pin": "1234"}, "pin: Extra inputs"),
        ({"token": ""}, "token:"),
        ({"token": "x" * 33}, "token:"),
        ({"mechanism": "cbc"}, "mechanism:"),
        ({"key_scope": "shared"}, "key_name belongs to key_scope: shared"),
        ({"environment": {"A=B": "c"}}, "environment.A=B"),
        ({"timeout": 0}, "timeout:"),
    ],
)
def test_settings_that_make_no_sense(
    settings: dict[str, object], where: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationRefused, match=f"key provider hsm: .*{where}") as caught:
        build({"hsm": SETTINGS | settings}, tmp_path)
    assert "1234" not in str(caught.value)
    entry = "".join(f"    {key}: {value!r}\n" for key, value in (SETTINGS | settings).items())
    with pytest.raises(ConfigurationError):
        parse(f"key_providers:\n  - name: hsm\n{entry}".encode(), "file")


def test_without_the_package_the_configuration_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(ConfigurationRefused, match=r"hsm: .* pip install 'vtpmd\[pkcs11\]'"):
        build({"hsm": SETTINGS}, tmp_path)
