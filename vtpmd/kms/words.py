"""Other people's words in our reasons and logs."""

_LONGEST = 300  # characters


def printable(said: object) -> str:
    """What a service said, on one line, without characters that do something, and not too long."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(said)).strip()
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
