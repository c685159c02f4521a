"""What may stand in the configuration, and what is said when the package is not installed."""

import sys
from pathlib import Path

import pytest

from vtpmd.config.loader import ConfigurationError, parse
from vtpmd.kms.provider import ConfigurationRefused
from vtpmd.kms.registry import build

SETTINGS = {"type": "pkcs11", "module": "/m.so", "token": "vtpmd", "pin_file": "/pin"}


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
