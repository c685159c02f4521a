"""What differential tests share."""

import pytest

from tests.tpm.harness import EnginePeer


@pytest.fixture(scope="session")
def manufactured() -> bytes:
    """The permanent state of one TPM."""
    return EnginePeer.manufactured().stored
