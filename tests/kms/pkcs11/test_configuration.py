"""What may stand in the configuration, and what is said when the package is not installed."""

import re
import sys

import pytest

from tests.kms import configured

SETTINGS: dict[str, object] = {
    "type": "pkcs11",
    "name": "hsm",
    "module": "/m.so",
    "token": "vtpmd",
    "pin_file": "/pin",
}


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"module": "softhsm.so"}, "module: .*the path must be absolute"),
        ({"pin": "1234"}, "pin: unknown setting pin"),
        ({"token": ""}, "token:"),
        ({"token": "x" * 33}, "token:"),
        ({"mechanism": "cbc"}, "mechanism:"),
        ({"key_scope": "shared"}, "key_name belongs to key_scope: shared"),
        ({"environment": {"A=B": "c"}}, "environment.A=B"),
        ({"timeout": 0}, "timeout:"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], where: str) -> None:
    (problem,) = configured.problems(SETTINGS | settings)
    assert re.match(where, problem)
    assert "1234" not in problem


def test_without_the_package_the_configuration_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    (problem,) = configured.problems(SETTINGS)
    assert problem.endswith("needs the package python-pkcs11: pip install 'vtpmd[pkcs11]'")
