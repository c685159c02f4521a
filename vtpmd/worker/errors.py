"""What can go wrong in a worker, and how it is told without its text."""

import traceback

EXIT_FAILED = 1
"""The exit status of a worker that could not do what it was ordered."""


class WorkerError(Exception):
    """The order of a worker, or the work of a zygote, can't be done."""


class UnknownModelError(WorkerError):
    """The order names a profile or PCR bank that the engine does not know."""


class DetainedError(WorkerError):
    """The worker that was to give way goes on; the text says why."""


class SandboxError(WorkerError):
    """A part of the sandbox is missing where the mode requires all of it."""


class NotSingleThreadedError(WorkerError):
    """Forking now would leave locks held for ever in the child."""


def frames_of(error: Exception) -> str:
    """Where an exception came from. Its text is left out: it may hold what must not be seen."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    where = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {where}"
