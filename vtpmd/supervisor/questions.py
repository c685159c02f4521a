"""What a worker is asked that changes nothing, and what is said where none answers."""

import contextlib

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.ipc.identity import Installed, ReadInstalled
from vtpmd.ipc.messages import Pcrs, ReadPcrs, Status, StatusReply

from .errors import WorkerEndedError, WorkerFailedError, WorkerSilentError
from .metadata import Metadata
from .worker import Worker


async def status(worker: Worker | None, metadata: Metadata) -> tuple[int, StatusReply] | None:
    """The worker's process id and its report, which says nothing if it is silent, or None."""
    if worker is not None:
        try:
            return worker.pid, await worker.ask(Status(), StatusReply)
        except WorkerSilentError:
            return worker.pid, StatusReply(metadata.uuid, metadata.name)
        except (WorkerEndedError, WorkerFailedError):
            pass
    return None


async def installed(worker: Worker | None) -> Installed | None:
    """What the worker says of certificates in NV, or None if no worker answers."""
    if worker is not None:
        with contextlib.suppress(WorkerEndedError, WorkerFailedError):
            return await worker.ask(ReadInstalled(), Installed)
    return None


async def pcrs(worker: Worker | None) -> Pcrs:
    """The PCR values of the running TPM. Raises OperationError."""
    try:
        if worker is None:
            raise WorkerEndedError("the worker ended unexpectedly")
        return await worker.ask(ReadPcrs(), Pcrs)
    except (WorkerEndedError, WorkerFailedError) as error:
        raise OperationError(problems.INTERNAL, str(error)) from None
