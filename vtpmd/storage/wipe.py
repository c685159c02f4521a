"""Overwriting of secrets that are no longer needed."""


def wipe(secret: bytearray) -> None:
    """Overwrite `secret` with zeros in place; its length stays.

    Copies that the interpreter or a library made are out of reach: secrets are kept in few
    bytearrays and handed on by reference.
    """
    secret[:] = bytes(len(secret))
