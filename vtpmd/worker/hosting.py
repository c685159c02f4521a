"""Making a TPM and serving it in this process: sandbox, engine and loop, in this order."""

import gc
from collections.abc import Callable, Sequence

from vtpmd.storage.key import Key
from vtpmd.storage.record import ROLES
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine, Reply

from .instance import Instance
from .options import Listeners, Options
from .sandbox import Sandbox
from .server import Server
from .side import SideThread
from .sources import entropy, now
from .supervision import Supervision

STAND_IN = "default-v1", ("sha256",)
"""The model of a TPM that stands in for one which is to come: never powered on, never stored."""


def manufacture(
    state: SealedState,
    profile: str,
    pcr_banks: Sequence[str],
    complete: Callable[[Engine], None] = lambda engine: None,
    *,
    persistent_eks: bool = True,
) -> None:
    """Make a TPM, with EKs at their persistent handles or not, `complete` it and store it.

    Raises ValueError for an unknown profile or bank, StorageError and EnvelopeError.
    """
    engine = Engine.manufacture(profile, pcr_banks, entropy, now, persistent_eks=persistent_eks)
    complete(engine)
    state.create(engine.permanent())


def serve(
    files: Sequence[int],
    key: Key,
    sandbox: Sandbox,
    listeners: Listeners,
    supervision: Supervision,
    options: Options,
    ready: Callable[[int], None],
) -> None:
    """Serve the TPM in its state files until the loop ends; then wipe its key.

    `files`: the state files' descriptors, as in `ROLES`, and the instance's lock if it has one.

    What was found in the files and was not whole is told before `ready`.

    `ready` is called with the generation once clients are about to be served. Raises
    SandboxError, StorageError, EnvelopeError and StateError before that; ControlError if the
    TPM could not be powered on as `Options.startup` asks.
    """
    side: SideThread[Reply] = SideThread()
    sandbox.confine()
    side.start()  # confined as we are, and the last thread there will be
    sandbox.seal()
    server = prepare(files, key, side, listeners, supervision, options)
    ready(server.instance.generation)
    gc.freeze()  # all this lives until the end: the collector need not look at it again
    server.run()
    wipe(server.instance.execution.state.key.dek)


def prepare(
    files: Sequence[int],
    key: Key,
    side: SideThread[Reply],
    listeners: Listeners,
    supervision: Supervision,
    options: Options,
) -> Server:
    """A server of the TPM in its state files, about to serve. Takes and raises as `serve`."""
    state = SealedState.of(files[: len(ROLES)], options.uuid, key)
    if options.absent:
        state.await_first()
        engine = Engine.manufacture(*STAND_IN, entropy, now)
    else:
        engine = Engine.restore(state.load(), entropy, now)
        state.settle()
    instance = Instance(
        engine,
        state,
        supervision.report,
        max_locality=options.max_locality,
        auto_shutdown=options.auto_shutdown,
        handover=options.handover,
        absent=options.absent,
        observer=options.observer,
    )
    instance.execution.possession.begin()
    instance.execution.tell_findings()
    server = Server(instance, side, listeners, supervision, options, files)
    server.start_up()
    return server
