"""A TPM's state to call the rules of `core` with."""

import os

import pytest

from vtpmd.tpm.snapshot import decode
from vtpmd.tpm.state import StoredState, Tpm, VolatileState


@pytest.fixture
def tpm(manufactured: bytes) -> Tpm:
    """A TPM that has just been powered on."""
    profile, stored = decode("permanent", manufactured, StoredState)
    return Tpm(
        profile=profile,
        permanent=stored.permanent,
        reset=stored.reset,
        clear=stored.clear,
        volatile=VolatileState(),
        entropy=os.urandom,
        now=lambda: 0,
    )
