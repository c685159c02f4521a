"""The stored TPM of one state directory: made at the first start, then unlocked.

The directory holds the state files `nvram`, `volatile` and `incoming`, sealed under the instance's
DEK; `keyring`, whose KEK wraps the DEK; `lock`; and a file for swtpm's programs (`marker`).
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vtpmd.kms.local.keys import LocalKeys
from vtpmd.kms.provider import KeyContext
from vtpmd.storage.directory import KEYRING
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Envelope
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.key import Key
from vtpmd.storage.sealed import SealedState, read_sealed
from vtpmd.storage.state_files import (
    complete_state_files,
    create_state_files,
    opened_files,
    opened_nvram_file,
    state_files_in_memory,
    stored_in,
)
from vtpmd.tpm.engine import Engine, StateError
from vtpmd.worker import hosting
from vtpmd.worker.sources import entropy, now

from . import marker
from .options import CommandLine
from .resources import StartError

_PROFILE = "default-v1"
_PCR_BANKS = ("sha1", "sha256", "sha384", "sha512")  # what a new TPM of swtpm has


@dataclass(frozen=True)
class Stored:
    """A TPM's open state files, in the order of `ROLES`, and what opens them.

    `damage`: why no TPM can be made of what is stored; the files then are others, in memory, to
    which nothing is ever written.
    """

    instance: uuid.UUID
    key: Key
    files: list[int]
    damage: str = ""


@contextmanager
def opened(options: CommandLine, state_fd: int, log: Any) -> Iterator[Stored]:
    """The TPM of this directory, which is made if there is none.

    A damaged one is handed out as that, unless it is to be powered on at once: then, and for what
    is wrong besides, raises StartError, StorageError, EnvelopeError, StateError, KeyProviderError.
    """
    try:
        instance, key = _instance(options, state_fd, log)
        with opened_files(state_fd) as files:
            Engine.restore(SealedState.of(files, instance, key).load(), entropy, now)
    except (EnvelopeError, StateError) as error:
        if options.flags.startup is not None:
            raise
        log.error("state-refused", detail=f"{error}; every INIT will be refused")
        damage = str(error)
    else:
        with opened_files(state_fd) as files:
            yield Stored(instance, key, files)
        return
    instance = uuid.uuid4()
    files = state_files_in_memory(instance, b"")
    try:
        yield Stored(
            instance, Key(bytearray(os.urandom(DEK_SIZE)), bytes(DEK_ID_SIZE), ()), files, damage
        )
    finally:
        for fd in files:
            os.close(fd)


def _instance(options: CommandLine, state_fd: int, log: Any) -> tuple[uuid.UUID, Key]:
    keys = LocalKeys("local", options.state.directory / KEYRING, group_may_write=True)
    if options.sets_up and marker.set_aside(state_fd):
        log.warning(
            "state-replaced",
            reason="the program that sets this TPM up has removed its state: a new one is made",
            former=str(options.state.directory / marker.REPLACED),
        )
    instance = stored_in(state_fd, "nvram")
    if instance is None:
        return _manufacture(state_fd, keys, log)
    marker.mark(state_fd)
    with opened_nvram_file(state_fd) as nvram:
        envelope, _ = read_sealed(nvram, instance)
    complete_state_files(state_fd, instance)
    return instance, _unlock(keys, envelope)


def _manufacture(state_fd: int, keys: LocalKeys, log: Any) -> tuple[uuid.UUID, Key]:
    if foreign := marker.foreign_state(state_fd):
        raise StartError(
            f"the directory holds state of swtpm ({', '.join(foreign)}), which would be "
            "passed over for a new TPM: name another directory"
        )
    marker.mark(state_fd)
    note = keys.create()
    if note is not None:
        log.warning("keyring-created", note=note)
    instance = uuid.uuid4()
    dek, dek_id = bytearray(os.urandom(DEK_SIZE)), os.urandom(DEK_ID_SIZE)
    key = Key(dek, dek_id, (keys.wrap(dek, KeyContext(instance, dek_id)),))
    create_state_files(state_fd, instance, replace=True)
    with opened_files(state_fd) as files:
        # Programs that set up a swtpm put the EKs where they belong by themselves.
        hosting.manufacture(
            SealedState.of(files, instance, key), _PROFILE, _PCR_BANKS, persistent_eks=False
        )
    log.info("manufactured", uuid=str(instance), profile=_PROFILE, pcr_banks=_PCR_BANKS)
    return instance, key


def _unlock(keys: LocalKeys, envelope: Envelope) -> Key:
    header, slots = envelope.header, envelope.slots
    dek = keys.unwrap(slots[0], KeyContext(header.uuid, header.dek_id))
    return Key(dek, header.dek_id, slots)
