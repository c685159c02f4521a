"""What tests of several providers share: a keyring's place, an authority for certificates."""

from pathlib import Path

import pytest

from tests.kms.certificates import Authority


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """Where the keyring of the test is, once it has been created."""
    return tmp_path / "keyring"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who issues the certificates of servers and clients."""
    return Authority(tmp_path_factory.mktemp("authority"))
