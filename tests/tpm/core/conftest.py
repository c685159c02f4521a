"""A TPM's state to call the rules of `core` with."""

import os

import pytest

from vtpmd.tpm.snapshot import decode
from vtpmd.tpm.state import ClearState, PermanentState, ResetState, Tpm, VolatileState


@pytest.fixture
def tpm(manufactured: bytes) -> Tpm:
    """A TPM that has just been powered on."""
    groups = {"permanent": PermanentState, "reset": ResetState, "clear": ClearState}
    profile, decoded = decode("permanent", manufactured, **groups)
    return Tpm(
        profile=profile, volatile=VolatileState(), entropy=os.urandom, now=lambda: 0, **decoded
    )
