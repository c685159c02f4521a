"""Wiping reaches the memory that others refer to."""

import pytest

from tests.compat.samples import KEY
from tests.storage.simulated import VM
from vtpmd.storage import envelope, sealed
from vtpmd.storage.envelope import Header, parse, seal
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.wipe import wipe


def test_secret_is_overwritten_in_place() -> None:
    secret = bytearray(b"secret")
    view = memoryview(secret)
    wipe(secret)
    assert bytes(view) == bytes(6)


def test_what_was_unsealed_is_overwritten_once_it_is_taken() -> None:
    plaintext = bytearray(b"state")
    assert sealed._take(plaintext) == b"state"
    assert plaintext == bytes(5)


def test_the_keys_of_one_envelope_are_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a plaintext that is not what was asked for."""
    wiped: list[tuple[bytes, bytearray]] = []

    def watched(secret: bytearray) -> None:
        wiped.append((bytes(secret), secret))
        wipe(secret)

    monkeypatch.setattr(envelope, "wipe", watched)
    header = Header(VM, 1, "volatile", KEY.dek_id)
    octets = seal(KEY.dek, header, KEY.slots, b"state")
    derived = {secret for secret, _ in wiped}
    assert derived
    with pytest.raises(EnvelopeError, match="volatile state where permanent"):
        parse(octets).unseal(KEY.dek, VM)
    assert derived < {secret for secret, _ in wiped}
    assert wiped[-1][0] == b"state"
    assert not any(map(any, (memory for _, memory in wiped)))
