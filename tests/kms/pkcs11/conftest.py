"""Tokens of SoftHSM and providers that use them, which end with the test."""

import os
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.kms import configured
from tests.kms.closing import close_at_the_end
from tests.kms.pkcs11 import softhsm
from tests.kms.pkcs11.softhsm import Faulty, Token
from vtpmd.kms.pkcs11.provider import Pkcs11Provider

TIMEOUT = 60.0  # of a busy machine; what hangs is tested with a clock of ours


class OpenProvider(Protocol):
    """Makes a provider from settings that differ from the usual ones."""

    def __call__(self, **settings: Any) -> Pkcs11Provider: ...


@pytest.fixture(scope="session")
def shared_token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    """A token; keys that tests leave in it disturb nobody."""
    softhsm.module()
    return Token.initialised(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(tmp_path: Path) -> Token:
    """A token of this test's own."""
    softhsm.module()
    return Token.initialised(tmp_path)


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    """A file with the PIN."""
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_text(f"{softhsm.PIN}\n")
    return path


@pytest.fixture
def open_provider(shared_token: Token, pin_file: Path, tmp_path: Path) -> OpenProvider:
    """Opens providers that use the shared token."""
    return _opener(shared_token, pin_file, tmp_path)


@pytest.fixture
def open_own(token: Token, pin_file: Path, tmp_path: Path) -> OpenProvider:
    """Opens providers that use the test's own token."""
    return _opener(token, pin_file, tmp_path)


@pytest.fixture(scope="session")
def faulty_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled module."""
    return softhsm.build(tmp_path_factory.mktemp("faulty"))


@pytest.fixture
def faulty(faulty_module: Path, tmp_path: Path) -> Faulty:
    """A module that takes orders."""
    return Faulty(faulty_module, tmp_path)


@pytest.fixture
def open_faulty(token: Token, faulty: Faulty, open_own: OpenProvider) -> OpenProvider:
    """Opens providers that use the test's own token by the module that takes orders."""

    def open_faulty(**settings: Any) -> Pkcs11Provider:
        environment = token.environment | faulty.environment
        return open_own(**{"module": str(faulty.path), "environment": environment} | settings)

    return open_faulty


def _opener(token: Token, pin_file: Path, state: Path) -> OpenProvider:
    def open_provider(**settings: Any) -> Pkcs11Provider:
        usual = {
            "type": "pkcs11",
            "name": "hsm",
            "module": str(softhsm.module()),
            "token": token.label,
            "pin_file": str(pin_file),
            "environment": token.environment,
            "timeout": TIMEOUT,
        }
        provider = configured.opened(Pkcs11Provider, usual | settings, state)
        close_at_the_end(provider)
        return provider

    return open_provider


def children() -> set[int]:
    """The processes that this one has started."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in listed.split()}
