"""Serving the TPM of one state directory in this process."""

import os
from collections.abc import Callable
from typing import Any

from vtpmd.ipc.messages import ALARMS, EventKind
from vtpmd.kms.errors import KeyProviderError
from vtpmd.linux.peers import PeerPolicy
from vtpmd.storage.directory import DirectoryLock
from vtpmd.storage.errors import EnvelopeError
from vtpmd.swtpm.host import ControlError
from vtpmd.swtpm.table import MAX_LOCALITY
from vtpmd.tpm.engine import StateError
from vtpmd.worker import hosting
from vtpmd.worker.errors import SandboxError
from vtpmd.worker.options import NEVER, Ending, Listeners, Options
from vtpmd.worker.sandbox import Sandbox
from vtpmd.worker.supervision import Supervision

from .journal import open_log
from .options import CommandLine
from .resources import SIGNALS, Resources, StartError
from .stored import Stored, opened
from .trace import Trace

_FILE_MODE = 0o600
_GROUP_MAY_WRITE = 0o020


def serve(options: CommandLine, resources: Resources, ready: Callable[[], None]) -> None:
    """Serve until the loop ends. Raises StartError, StorageError or OSError before `ready`."""
    log = open_log(options.log)
    if options.state.mode not in (None, _FILE_MODE):
        log.warning("mode-ignored", files=f"{_FILE_MODE:04o}", asked=f"{options.state.mode:04o}")
    if os.fstat(resources.state_fd).st_mode & _GROUP_MAY_WRITE:
        log.warning(
            "directory-shared",
            reason=f"the group of {options.state.directory} may put older state there, or remove "
            "it: take that away with chmod g-w",
        )
    try:
        with (
            DirectoryLock(resources.state_fd),
            opened(options, resources.state_fd, log) as stored,
        ):
            _host(options, resources, stored, log, ready)
    except (EnvelopeError, StateError, KeyProviderError, SandboxError) as error:
        raise StartError(str(error)) from None
    except ControlError:
        raise StartError("the TPM could not be powered on; the log says why") from None


def _host(
    options: CommandLine,
    resources: Resources,
    stored: Stored,
    log: Any,
    ready: Callable[[], None],
) -> None:
    sandbox = Sandbox(
        "best-effort" if options.sandboxed else "off",
        removable=resources.leftovers.directories,
    )

    def report(kind: EventKind, detail: str) -> None:
        write = log.error if kind in ALARMS else log.info
        write(kind, detail=detail)

    def started(generation: int) -> None:
        log.info(
            "serving", uuid=str(stored.instance), generation=generation, sandbox=sandbox.active
        )
        ready()

    trace = Trace(log)
    try:
        hosting.serve(
            stored.files,
            stored.key,
            sandbox,
            _listeners(resources),
            Supervision(None, report),
            _options(options, stored, sandbox, trace),
            started,
        )
    finally:
        trace.close()


def _listeners(resources: Resources) -> Listeners:
    control, server = resources.control, resources.server
    return Listeners(
        control=control.sock if control and not control.connected else None,
        adoption=None,
        data=server.sock if server and not server.connected else None,
        control_client=control.sock if control and control.connected else None,
        data_client=server.sock if server and server.connected else None,
        remove_names=resources.leftovers.remove,
    )


def _options(options: CommandLine, stored: Stored, sandbox: Sandbox, trace: Trace) -> Options:
    server, control = options.server, options.control
    ending = Ending.ON_SHUTDOWN
    ending |= Ending.ON_CONTROL_CLOSED if control and control.terminate else NEVER
    ends_with_data = options.terminate or (server is not None and server.terminate)
    ending |= Ending.ON_DATA_CLOSED if ends_with_data else NEVER
    return Options(
        uuid=stored.instance,
        name=options.state.directory.name,
        sandbox=sandbox.active,
        peers=PeerPolicy(anybody=True),  # whoever the socket's mode or address lets in
        startup=options.flags.startup,
        set_locality=options.localities.vendor_command,
        max_locality=MAX_LOCALITY - 1 if options.localities.reject_4 else MAX_LOCALITY,
        auto_shutdown=options.flags.auto_shutdown,
        disconnect=server is not None and server.disconnect,
        ending=ending,
        signals=SIGNALS,
        absent=stored.damage,
        observer=trace,
    )
