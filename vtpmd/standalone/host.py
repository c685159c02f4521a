"""The TPM of one state directory: made at the first start, then unlocked and served.

The directory holds the state files `nvram`, `volatile` and `incoming`, sealed under the instance's
DEK; `keyring`, whose KEK wraps the DEK; and `lock`.
"""

import os
import uuid
from collections.abc import Callable
from typing import Any

from vtpmd.ipc.messages import ALARMS, EventKind
from vtpmd.kms.errors import KeyProviderError
from vtpmd.kms.local.keys import LocalKeys
from vtpmd.kms.provider import KeyContext
from vtpmd.linux.peers import PeerPolicy
from vtpmd.storage.directory import KEYRING, DirectoryLock
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Envelope
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.key import Key
from vtpmd.storage.sealed import SealedState, read_sealed
from vtpmd.storage.state_files import (
    complete_state_files,
    create_state_files,
    opened_files,
    opened_nvram_file,
    stored_in,
)
from vtpmd.swtpm.host import ControlError
from vtpmd.swtpm.table import MAX_LOCALITY
from vtpmd.tpm.engine import StateError
from vtpmd.worker import hosting
from vtpmd.worker.errors import SandboxError
from vtpmd.worker.options import NEVER, Ending, Listeners, Options
from vtpmd.worker.sandbox import Sandbox
from vtpmd.worker.supervision import Supervision

from .describe import FOREIGN_STATE
from .journal import open_log
from .options import CommandLine
from .resources import SIGNALS, Resources, StartError

_PROFILE = "default-v1"
_PCR_BANKS = ("sha1", "sha256", "sha384", "sha512")  # what a new TPM of swtpm has
_FILE_MODE = 0o600


def serve(options: CommandLine, resources: Resources, ready: Callable[[], None]) -> None:
    """Serve until the loop ends. Raises StartError, StorageError or OSError before `ready`."""
    log = open_log(options.log)
    if options.state.mode not in (None, _FILE_MODE):
        log.warning("mode-ignored", files=f"{_FILE_MODE:04o}", asked=f"{options.state.mode:04o}")
    try:
        with DirectoryLock(resources.state_fd):
            instance, key = _key(options, resources, log)
            _host(options, resources, instance, key, log, ready)
    except (EnvelopeError, StateError, KeyProviderError, SandboxError) as error:
        raise StartError(str(error)) from None
    except ControlError:
        raise StartError("the TPM could not be powered on; the log says why") from None


def _key(options: CommandLine, resources: Resources, log: Any) -> tuple[uuid.UUID, Key]:
    keys = LocalKeys("local", options.state.directory / KEYRING)
    instance = stored_in(resources.state_fd, "nvram")
    if instance is None:
        return _manufacture(options, resources.state_fd, keys, log)
    with opened_nvram_file(resources.state_fd) as nvram:
        envelope, _ = read_sealed(nvram, instance)
    complete_state_files(resources.state_fd, instance)
    return instance, _unlock(keys, envelope)


def _manufacture(
    options: CommandLine, state_fd: int, keys: LocalKeys, log: Any
) -> tuple[uuid.UUID, Key]:
    if foreign := [name for name in FOREIGN_STATE if (options.state.directory / name).exists()]:
        raise StartError(
            f"the directory holds state of swtpm ({', '.join(foreign)}), which would be "
            "passed over for a new TPM: name another directory"
        )
    note = keys.create()
    if note is not None:
        log.warning("keyring-created", note=note)
    instance = uuid.uuid4()
    dek, dek_id = bytearray(os.urandom(DEK_SIZE)), os.urandom(DEK_ID_SIZE)
    key = Key(dek, dek_id, (keys.wrap(dek, KeyContext(instance, dek_id)),))
    create_state_files(state_fd, instance, replace=True)
    with opened_files(state_fd) as files:
        hosting.manufacture(SealedState.of(files, instance, key), _PROFILE, _PCR_BANKS)
    log.info("manufactured", uuid=str(instance), profile=_PROFILE, pcr_banks=_PCR_BANKS)
    return instance, key


def _unlock(keys: LocalKeys, envelope: Envelope) -> Key:
    header, slots = envelope.header, envelope.slots
    dek = keys.unwrap(slots[0], KeyContext(header.uuid, header.dek_id))
    return Key(dek, header.dek_id, slots)


def _host(
    options: CommandLine,
    resources: Resources,
    instance: uuid.UUID,
    key: Key,
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
        log.info("serving", uuid=str(instance), generation=generation, sandbox=sandbox.active)
        ready()

    with opened_files(resources.state_fd) as files:
        hosting.serve(
            files,
            key,
            sandbox,
            _listeners(resources),
            Supervision(None, report),
            _options(options, instance, sandbox),
            started,
        )


def _listeners(resources: Resources) -> Listeners:
    control, server = resources.control, resources.server
    return Listeners(
        control=control.sock if control and not control.connected else None,
        adoption=None,
        data=server.sock if server and not server.connected else None,
        control_client=control.sock if control and control.connected else None,
        data_client=server.sock if server and server.connected else None,
    )


def _options(options: CommandLine, instance: uuid.UUID, sandbox: Sandbox) -> Options:
    server, control = options.server, options.control
    ending = Ending.ON_SHUTDOWN
    ending |= Ending.ON_CONTROL_CLOSED if control and control.terminate else NEVER
    ends_with_data = options.terminate or (server is not None and server.terminate)
    ending |= Ending.ON_DATA_CLOSED if ends_with_data else NEVER
    return Options(
        uuid=instance,
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
    )
