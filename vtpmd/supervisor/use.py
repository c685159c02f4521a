"""Who uses a TPM: the process that has attached a data descriptor, as a worker says."""

import trio

from vtpmd.api.names import RUNNING

from . import questions
from .metadata import Metadata
from .reasons import READY
from .states import Condition, user
from .worker import Worker

PATIENCE = 0.3
"""Seconds for which a worker is asked before it is stopped: who stops it does not wait long."""


def told(condition: Condition, machine: int, asleep: bool, trouble: str) -> str:
    """Why an instance is in its state, who uses it, and what is wrong with its worker."""
    reason = condition.reason
    if machine and asleep:
        reason = f"{reason}; {user(machine)} stays connected"
    elif machine and condition.state == RUNNING:
        more = "" if reason == READY else f"; {reason}"
        reason = f"in use by {user(machine)}{more}"
    return f"{reason}; {trouble}" if trouble else reason


async def look(worker: Worker | None, metadata: Metadata) -> None:
    """Have the worker say who uses it now, unless it does not answer at once."""
    with trio.move_on_after(PATIENCE):
        await questions.status(worker, metadata)
