"""Making a TPM and serving it in this process: sandbox, engine and loop, in this order."""

from collections.abc import Callable, Sequence
from uuid import UUID

from vtpmd.storage.store import Store
from vtpmd.storage.wipe import wipe
from vtpmd.tpm.engine import Engine, Reply

from .instance import Instance
from .options import Listeners, Options
from .persistence import Key, Persistence
from .sandbox import Sandbox
from .server import Server
from .side import SideThread
from .sources import entropy, now
from .supervision import Supervision


def manufacture(
    store: Store, uuid: UUID, key: Key, profile: str, pcr_banks: Sequence[str]
) -> Persistence:
    """Make a TPM and store it as instance `uuid`, sealed under `key`.

    Raises ValueError for an unknown profile or bank, and StorageError.
    """
    engine = Engine.manufacture(profile, pcr_banks, entropy, now)
    persistence = Persistence(store, uuid, key)
    persistence.create(engine.permanent())
    return persistence


def serve(
    state_fd: int,
    key: Key,
    sandbox: Sandbox,
    listeners: Listeners,
    supervision: Supervision,
    options: Options,
    ready: Callable[[int], None],
) -> None:
    """Serve the TPM in the directory `state_fd` until the loop ends, then wipe its key.

    `ready` is called with the generation once clients are about to be served. Raises
    SandboxError, StorageError, EnvelopeError and StateError before that; ControlError if the
    TPM could not be powered on as `Options.startup` asks.
    """
    side: SideThread[Reply] = SideThread()
    sandbox.confine(state_fd)
    side.start()  # confined as we are, and the last thread there will be
    sandbox.seal()
    with Store(state_fd) as store:
        persistence = Persistence(store, options.uuid, key)
        engine = Engine.restore(persistence.load(), entropy, now)
        instance = Instance(
            engine,
            persistence,
            supervision.report,
            max_locality=options.max_locality,
            auto_shutdown=options.auto_shutdown,
        )
        server = Server(instance, side, listeners, supervision, options)
        server.start_up()
        ready(persistence.generation)
        server.run()
        wipe(persistence.key.dek)
