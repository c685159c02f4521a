"""From a command line to a process that serves one TPM, and to its exit status."""

import signal
import sys
from typing import NoReturn

from vtpmd.linux.errors import InUseError
from vtpmd.linux.streams import occupy_streams
from vtpmd.storage.errors import StorageError

from . import detach
from .endpoints import Leftovers
from .options import CommandLine
from .resources import SIGNALS, StartError, acquire
from .syntax import UsageError

EXIT_FAILED = 1


def run(options: CommandLine) -> int:
    """Serve until a signal, SHUTDOWN or a client's end; the exit status.

    The sockets exist before the engine is loaded, so that clients need not wait for that.
    """
    occupy_streams()
    for number in SIGNALS:
        signal.signal(number, _end)
    outcome: detach.Outcome = detach.Foreground()
    leftovers = Leftovers()
    try:
        resources = acquire(options, leftovers)
        if options.daemon:
            outcome = detach.detach()
        if options.pid is not None:
            detach.write_pid(options.pid, leftovers.add)
        from .host import serve  # loads the engine

        serve(options, resources, outcome.ready)
    except (UsageError, StartError, StorageError, InUseError, OSError) as error:
        leftovers.remove()  # before the starter is told, who may look or start another
        outcome.failed(f"vtpmd-swtpm: {_text(error)}")
        return EXIT_FAILED
    finally:
        leftovers.remove()
    return 0


def _end(number: int, _: object) -> NoReturn:
    """A signal before the TPM is served: nothing to make durable, only sockets to remove."""
    sys.exit(0)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
