"""What differential tests share."""

import pytest

from tests.tpm.harness import EnginePeer


@pytest.fixture(scope="session")
def manufactured() -> bytes:
    """The permanent state of one TPM."""
    return EnginePeer.manufactured().stored


@pytest.fixture(scope="session")
def manufactured_pqc() -> bytes:
    """The same with the profile of ML-KEM and ML-DSA."""
    return EnginePeer.manufactured(profile="pqc-v1").stored
