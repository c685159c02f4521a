"""What the configuration of `vault` and `aws-kms` accepts, and how it says what is wrong."""

from pathlib import Path
from typing import Any

import pytest

from tests.kms import configured
from vtpmd.config.loader import ConfigurationError, parse
from vtpmd.kms.aws_kms.provider import AwsKmsProvider
from vtpmd.kms.vault.provider import VaultProvider

VAULT: dict[str, Any] = {
    "type": "vault",
    "name": "bao",
    "url": "https://bao.example:8200",
    "ca": "/ca.pem",
    "auth": {"method": "token", "token_file": "/token"},
}
AWS: dict[str, Any] = {
    "type": "aws-kms",
    "name": "cloud",
    "region": "eu-central-1",
    "key_name": "alias/vtpmd",
}


def test_settings_are_enough(tmp_path: Path) -> None:
    vault = configured.opened(VaultProvider, VAULT, tmp_path)
    assert repr(vault) == "VaultProvider('bao', 'https://bao.example:8200')"
    aws = configured.opened(AwsKmsProvider, AWS, tmp_path)
    assert repr(aws) == "AwsKmsProvider('cloud', 'region eu-central-1')"


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://bao.example:8200"},
        {"url": "https://user:password@bao.example"},
        {"url": "https://bao.example/path"},
        {"mount": "../sys"},
        {"mount": "/transit"},
        {"key_prefix": "a/b"},
        {"key_name": "vtpmd"},
        {"key_scope": "shared"},
        {"key_scope": "shared", "key_name": "a/b"},
        {"ca": "relative.pem"},
        {"timeout": 0},
        {"auth": {"method": "userpass"}},
        {"auth": {"method": "token", "token_file": "token"}},
        {"auth": {"method": "approle", "role_id": "r"}},
        {"auth": {"method": "cert", "certificate": "/c.pem"}},
        {"surprise": 1},
    ],
)
def test_vault_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    (problem,) = configured.problems(VAULT | change)
    assert problem.startswith((*change, "key_name belongs to key_scope"))


@pytest.mark.parametrize(
    "change",
    [
        {"region": "Frankfurt"},
        {"endpoint": "http://localhost:5000"},
        {"key_scope": "instance"},
        {"key_name": None},
        {"key_name": "alias/a b"},
        {"access_key": "AKID"},
    ],
)
def test_aws_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    (problem,) = configured.problems(AWS | change)
    assert problem.startswith((*change, "key_name belongs to key_scope"))


def test_problems_of_a_login_are_told_with_path_and_line() -> None:
    text = b"""\
key_providers:
  - type: vault
    name: bao
    url: https://bao.example
    ca: /ca.pem
    auth:
      method: approle
      role_id: r
      secret_id_file: relative
"""
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "file")
    assert caught.value.problems == [
        "file:9: key_providers.0.auth.secret_id_file: the path must be absolute"
    ]
