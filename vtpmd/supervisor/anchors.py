"""What became of a TPM's state since it was seen last: judged before it is served.

An anchor is written when a TPM is first served, when its worker has ended, when its state of
hand-over changes, before somebody turns it back on purpose, and in between every few minutes. No
command waits for it.
"""

import threading
from collections import defaultdict
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Admission:
    """State that may be served. `after`: it is to begin a new line after this epoch first.

    `told`: what people are to know of it then, under the policy.
    """

    envelope: Envelope
    after: int | None = None
    told: str = ""


class Anchors:
    """The anchors of this host's instances, and the policy. All methods block on the disk."""

    def __init__(self, configuration: Configuration, registry: Registry) -> None:
        """Raises StorageError."""
        self.policy = configuration.rollback
        self._registry = registry
        path = configuration.anchor_dir or configuration.state_dir / ANCHORS
        self._directory = Directory(path)
        self._locks: defaultdict[UUID, threading.Lock] = defaultdict(threading.Lock)

    def close(self) -> None:
        self._directory.close()

    def known(self, uuid: UUID) -> Anchor | None:
        """What was seen last. Raises StorageError for an anchor that can't be read."""
        return self._directory.read(uuid)

    def admit(self, uuid: UUID) -> Admission:
        """The state that may be served. Raises RolledBackError, StorageError, EnvelopeError."""
        stored = self._registry.stored(uuid)
        return self._judge(uuid, stored)

    def note(self, uuid: UUID) -> None:
        """Note the state that is stored as the newest one, if it is; what fails is only logged."""
        try:
            with self._locks[uuid]:
                found = self._registry.stored(uuid, durable=True).envelope.header.mark
                anchor = self._directory.read(uuid)
                if anchor is None:
                    self._directory.write(uuid, Anchor(found))
                elif older := _told(found, anchor):
                    if found != anchor.accepted:  # or it is still to begin its new line
                        log.warning("rolled-back", uuid=str(uuid), reason=older)
                elif found != anchor.newest or anchor.accepted is not None:
                    self._directory.write(uuid, anchor.at(found))
        except EnvelopeError:
            return  # nothing is stored yet, or what is there is refused when it is to be served
        except (StorageError, OSError) as error:  # no descriptor left, too
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
            if fault or stored.damage or _told(found, anchor):
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

    def _judge(self, uuid: UUID, stored: Stored) -> Admission:
        envelope, found = stored.envelope, stored.envelope.header.mark
        with self._locks[uuid]:
            anchor, unreadable = self._read(uuid)
            newest = found.epoch if anchor is None else max(anchor.newest.epoch, found.epoch)
            if anchor is not None and anchor.accepted == found:
                return Admission(envelope, newest)
            older = _told(found, anchor)
            damage = stored.damage and f"the state file is damaged: {stored.damage}"
            fault = "; ".join(filter(None, (unreadable, older, damage)))
            if not fault:
                return Admission(envelope)
            if self.policy == "enforce":
                raise RolledBackError(f"{fault}; {_REMEDY}")
            told = fault if self.policy == "warn" else ""
            if told:
                log.warning("rolled-back", uuid=str(uuid), reason=told)
            try:
                self._directory.write(uuid, (anchor or Anchor(found)).accepting(found, told))
            except StorageError as error:  # a policy that serves it serves it all the same
                log.warning("anchor-not-written", uuid=str(uuid), reason=str(error))
            # Of damage alone the worker tells, who goes on with the state as it is.
            return Admission(envelope, newest, told) if older else Admission(envelope)

    def _read(self, uuid: UUID) -> tuple[Anchor | None, str]:
        """The anchor, and why it can't be read."""
        try:
            return self._directory.read(uuid), ""
        except StorageError as error:
            return None, str(error)


def _told(found: Mark, anchor: Anchor | None) -> str:
    """What is to be told of this state beside the newest; empty if it may follow that."""
    if anchor is None or found.follows(anchor.newest):
        return ""
    return (
        f"the stored state ({found}) is older than the one of {anchor.seen:%Y-%m-%d %H:%M:%S} UTC "
        f"({anchor.newest}), or of another line"
    )
