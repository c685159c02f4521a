"""Texts of services in our reasons and logs."""

_LONGEST = 300  # characters


def printable(said: object) -> str:
    """Return a text on one line, without control characters, and cut if it is long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(said)).strip()
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
