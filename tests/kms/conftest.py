"""Keyring directories that only we may write to."""

from pathlib import Path

import pytest


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """Where the keyring of the test is, once it has been created."""
    return tmp_path / "keyring"
