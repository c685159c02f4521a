"""The provider passes the tests that every key provider must pass."""

import os
from pathlib import Path

import pytest

from vtpmd.kms.contract import KeyProviderContract
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.provider import KeyProvider
from vtpmd.kms.registry import check


def configured(key_file: Path) -> KeyProvider:
    settings = {"type": "file-key", "name": "host", "key_file": str(key_file)}
    return check(settings).open(key_file.parent)


class TestFileKey(KeyProviderContract):
    """Runs the test methods of the contract."""

    @pytest.fixture(autouse=True)
    def _key_file(self, tmp_path: Path) -> None:
        self.key_file = tmp_path / "kek"
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(os.urandom(32))

    async def open_provider(self) -> KeyProvider:
        return configured(self.key_file)


async def test_a_key_of_another_size_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "kek"
    short.touch(mode=0o600)
    short.write_bytes(bytes(16))
    with pytest.raises(KeyUnavailableError, match="has not 32 octets"):
        await configured(short).check()


async def test_a_missing_key_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError, match="kek") as caught:
        await configured(tmp_path / "kek").check()
    assert caught.value.retry
