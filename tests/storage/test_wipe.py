"""Wiping reaches the memory that others refer to."""

from vtpmd.storage.wipe import wipe


def test_secret_is_overwritten_in_place() -> None:
    secret = bytearray(b"secret")
    view = memoryview(secret)
    wipe(secret)
    assert bytes(view) == bytes(6)
