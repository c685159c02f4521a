"""Keys as a TPM has them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa


@pytest.fixture(scope="session")
def keys() -> dict[str, Any]:
    """Public keys of each kind, by kind."""
    return {
        "rsa-2048": rsa.generate_private_key(65537, 2048).public_key(),
        "ecc-p256": ec.generate_private_key(ec.SECP256R1()).public_key(),
        "ecc-p384": ec.generate_private_key(ec.SECP384R1()).public_key(),
    }


@pytest.fixture
def dir_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)
