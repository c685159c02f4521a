"""Moments, as files have them: ISO 8601 with a time zone."""

from datetime import UTC, datetime


def moment(text: object) -> datetime:
    """The moment (UTC) that a text names. Raises ValueError for anything else."""
    if type(text) is not str:
        raise ValueError("a time is no text")
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("a time without time zone")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time that no calendar has") from None
