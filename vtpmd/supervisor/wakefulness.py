"""Whoever has something to ask of a TPM finds it awake, also if it was about to fall asleep."""

import trio

from vtpmd.ipc.messages import Admitted

from .access import Grant
from .errors import WorkerEndedError, WorkerSilentError
from .refusals import EXPECTED
from .serving import Serving
from .worker import LOOK_TIMEOUT, Worker

_ATTEMPTS = 3


async def stay_awake(serving: Serving, grant: Grant) -> None:
    """Have a worker serve it that does not fall asleep before its idle time is over once more.

    Raises as `Serving.wake`.
    """
    worker: Worker | None = None
    for _ in range(_ATTEMPTS):
        await serving.decided(worker)
        await serving.wake()
        if (worker := serving.worker) is None or await _hears(worker, grant):
            return


async def _hears(worker: Worker, grant: Grant) -> bool:
    """Whether the worker has heard from us just now, and has not ended instead.

    Who may connect it knows already; but whoever is told anything does not fall asleep.
    """
    if worker.strange is not None:
        return True
    try:
        with trio.move_on_after(LOOK_TIMEOUT):
            await worker.ask(grant.order, Admitted)
    except WorkerSilentError:
        pass  # it hangs, and has not ended: whoever asks it something is told so
    except WorkerEndedError:
        return False
    except EXPECTED:
        pass
    return True
