"""Whether an instance is free: nobody says that it is stopped while a process holds its lock."""

from contextlib import suppress
from pathlib import Path
from uuid import UUID

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.errors import InUseError
from vtpmd.storage.errors import StorageError

from .adoption import end_holder
from .claim import claim
from .lease import ServedElsewhereError
from .registry import Registry


async def demand_free(registry: Registry, uuid: UUID, adoption: Path) -> None:
    """Raise OperationError while a process holds an instance that nobody here serves.

    A worker that we have lost, whose serving lock lies beside its socket `adoption`, is killed.
    """
    pid = await end_holder(adoption)
    try:
        with suppress(StorageError):  # there is nothing left that anybody could hold
            async with claim(registry, uuid):
                return
    except ServedElsewhereError:
        return
    except InUseError:
        who = "a process" if pid is None else f"process {pid}, which was killed,"
        raise OperationError(
            problems.RUNNING_CONFLICT,
            f"It is not stopped: {who} still holds its state, instance {uuid}. `fuser` tells who "
            "has that directory's lock open; stop the instance again when that process has ended.",
        ) from None
