"""What became of a TPM's state since it was seen last: judged before it is served.

An anchor is written when a TPM is first served, when its worker has ended, when its state of
hand-over changes, before somebody turns it back on purpose, and in between every few minutes. No
command waits for it.
"""

import threading
from collections import defaultdict
from dataclasses import replace
from uuid import UUID

from vtpmd.config.schema import Configuration
from vtpmd.storage.anchor import Anchor, Directory
from vtpmd.storage.directory import ANCHORS
from vtpmd.storage.envelope import Envelope
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.mark import Mark
from vtpmd.storage.sealed import Stored
from vtpmd.telemetry.log import get_logger

from .errors import RolledBackError
from .registry import Registry

log = get_logger("anchors")

_REMEDY = (
    "put the newest state back, or let it go on without what was stored since: "
    "`vtpmctl accept-rollback`"
)


class Anchors:
    """The anchors of this host's instances, and the policy. All methods block on the disk."""

    def __init__(self, configuration: Configuration, registry: Registry) -> None:
        """Raises StorageError."""
        self._policy = configuration.rollback
        self._registry = registry
        path = configuration.anchor_dir or configuration.state_dir / ANCHORS
        self._directory = Directory(path)
        self._locks: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)

    def close(self) -> None:
        self._directory.close()

    def known(self, uuid: UUID) -> Anchor | None:
        """What was seen last. Raises StorageError for an anchor that can't be read."""
        return self._directory.read(uuid)

    def admit(self, uuid: UUID) -> tuple[Envelope, int | None]:
        """The state that may be served, and after which epoch it is to begin a new line, if any.

        Raises RolledBackError, StorageError, EnvelopeError.
        """
        stored = self._registry.stored(uuid)
        return stored.envelope, self._judge(uuid, stored)

    def note(self, uuid: UUID) -> None:
        """Note the state that is stored as the newest one, if it is; what fails is only logged."""
        try:
            with self._locks[uuid]:
                found = self._registry.stored(uuid, durable=True).envelope.header.mark
                anchor, _ = self._read(uuid)
                if anchor is None:
                    self._directory.write(uuid, Anchor(found))
                elif found == anchor.newest and anchor.accepted is None:
                    return
                elif found.follows(anchor.newest) or found == anchor.accepted:
                    self._directory.write(uuid, anchor.at(found))
                else:
                    log.warning("rolled-back", uuid=str(uuid), reason=_told(found, anchor))
        except (EnvelopeError, StorageError, OSError) as error:  # no descriptor left, too
            log.warning("anchor-not-written", uuid=str(uuid), reason=str(error))

    def accept(self, uuid: UUID, state: Mark) -> None:
        """Let this state take the place of the newest that was seen, also if it is older.

        It begins a new line of the TPM's life then. Raises StorageError.
        """
        with self._locks[uuid]:
            anchor, _ = self._read(uuid)
            if anchor is not None and not state.follows(anchor.newest):
                self._directory.write(uuid, anchor.accepting(state))

    def accept_stored(self, uuid: UUID) -> None:
        """Let the stored state go on if it is older or damaged, and tell no more of it.

        Raises StorageError, EnvelopeError.
        """
        stored = self._registry.stored(uuid)
        found = stored.envelope.header.mark
        with self._locks[uuid]:
            anchor, fault = self._read(uuid)
            if fault or stored.damage or (anchor is not None and not found.follows(anchor.newest)):
                self._directory.write(uuid, (anchor or Anchor(found)).accepting(found))
            elif anchor is not None and anchor.told:
                self._directory.write(uuid, replace(anchor, told=""))

    def forget(self, uuid: UUID) -> None:
        """Forget an instance that is gone; what fails is only logged."""
        self._locks.pop(uuid, None)
        try:
            self._directory.remove(uuid)
        except StorageError as error:
            log.warning("anchor-kept", uuid=str(uuid), reason=str(error))

    def _judge(self, uuid: UUID, stored: Stored) -> int | None:
        found = stored.envelope.header.mark
        with self._locks[uuid]:
            anchor, fault = self._read(uuid)
            if anchor is not None and anchor.accepted == found:
                return max(anchor.newest.epoch, found.epoch)
            older = anchor is not None and not found.follows(anchor.newest)
            if older and anchor is not None:
                fault = _told(found, anchor)
            elif stored.damage:
                fault = f"the state file is damaged: {stored.damage}"
            if not fault:
                return None
            if self._policy == "enforce":
                raise RolledBackError(f"{fault}; {_REMEDY}")
            if self._policy == "warn":
                log.warning("rolled-back", uuid=str(uuid), reason=fault)
            anchor = anchor or Anchor(found)
            told = fault if self._policy == "warn" else ""
            self._directory.write(uuid, anchor.accepting(found, told))
            return max(anchor.newest.epoch, found.epoch) if older else None

    def _read(self, uuid: UUID) -> tuple[Anchor | None, str]:
        """The anchor, and why it can't be read."""
        try:
            return self._directory.read(uuid), ""
        except StorageError as error:
            return None, str(error)


def _told(found: Mark, anchor: Anchor) -> str:
    return (
        f"the stored state ({found}) is older than the one of {anchor.seen:%Y-%m-%d %H:%M:%S} UTC "
        f"({anchor.newest}), or of another line"
    )
