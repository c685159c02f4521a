"""How an internal failure of the engine is told to whoever has to find it."""

import traceback


def describe(error: Exception) -> str:
    """The frames of an exception, innermost first, and never its text: that may be a guest's."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} at " + " < ".join(reversed(where))
