"""The worker's end of its supervisor: questions answered, events told, a new one welcomed.

A worker whose supervisor is gone keeps serving; what it has to tell meanwhile is for the next
supervisor's Status to find out.
"""

import selectors
from collections import deque
from collections.abc import Callable
from typing import Protocol

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import (
    Event,
    EventKind,
    Message,
    Pcrs,
    ReadPcrs,
    Rekey,
    Rekeyed,
    RekeyFailed,
    Rewrap,
    Status,
    StatusReply,
    Stop,
    Stopped,
)
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.swtpm.table import Turn

from .connection import close_fds
from .instance import Instance, Report
from .persist import Key

_MAX_DETAIL = 8000
_MAX_QUEUED = 256


class Office(Protocol):
    """What the supervisor's messages need of the loop."""

    instance: Instance

    def free_for(self, turn: Turn) -> bool: ...
    def status(self) -> StatusReply: ...
    def end(self) -> None: ...


_TURNS = {Rekey: Turn.AFTER, Rewrap: Turn.AFTER, Stop: Turn.CANCELS}


class Supervision:
    """Owns the channel; ``channel`` is None while there is no supervisor.

    ``unheard`` is told what there is no supervisor for; ``on_detach`` is given a channel before it
    is closed.
    """

    def __init__(
        self, channel: Channel | None, unheard: Report = lambda kind, detail: None
    ) -> None:
        self.channel = channel
        self.on_detach: Callable[[Channel], None] = lambda channel: None
        self._unheard = unheard
        self._pending: deque[Message] = deque()
        self._outgoing: deque[Message] = deque()

    @property
    def events(self) -> int:
        """What to wait for on the channel."""
        waiting = 0 if self._pending else selectors.EVENT_READ
        return waiting | (selectors.EVENT_WRITE if self._outgoing else 0)

    def report(self, kind: EventKind, detail: str) -> None:
        """Tell the supervisor."""
        if self.channel is None:
            self._unheard(kind, detail)
        elif len(self._outgoing) < _MAX_QUEUED:
            self.send(Event(kind, detail[-_MAX_DETAIL:]))

    def send(self, message: Message) -> None:
        """Send, or keep until the supervisor reads."""
        if self.channel is not None:
            self._outgoing.append(message)
            self.flush()

    def flush(self) -> None:
        try:
            while self._outgoing and self.channel is not None:
                self.channel.send(self._outgoing[0])
                self._outgoing.popleft()
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self.detach()

    def adopt(self, channel: Channel, first: Message, office: Office) -> None:
        """A new supervisor has said its first word: it takes the place of the old one."""
        self.detach()
        self.channel = channel
        self._pending.append(first)
        self.pump(office)

    def detach(self) -> None:
        """The supervisor is gone."""
        if self.channel is not None:
            self.on_detach(self.channel)
            self.channel.close()
        self.channel = None
        self._pending.clear()
        self._outgoing.clear()

    def ready(self, office: Office) -> None:
        """The channel is ready for what ``events`` asked for."""
        self.flush()
        try:
            while self.channel is not None and not self._pending:
                message, fds = self.channel.receive()
                close_fds(fds)
                self._pending.append(message)
                self.pump(office)
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self.detach()

    def pump(self, office: Office) -> None:
        """Answer what may be answered now."""
        while self._pending:
            if not office.free_for(_TURNS.get(type(self._pending[0]), Turn.AT_ONCE)):
                return
            self._answer(self._pending.popleft(), office)

    def _answer(self, message: Message, office: Office) -> None:
        match message:
            case Status():
                self.send(office.status())
            case ReadPcrs():
                self.send(Pcrs(office.instance.pcr_values()))
            case Rekey() | Rewrap():
                self.send(_rekey(message, office.instance))
            case Stop():
                office.instance.stop()
                self.send(Stopped(office.instance.generation))
                office.end()


def _rekey(message: Rekey | Rewrap, instance: Instance) -> Message:
    try:
        if isinstance(message, Rekey):
            instance.rekey(Key(message.dek, message.dek_id, message.slots))
        else:
            instance.rewrap(message.slots)
    except (EnvelopeError, StorageError, ValueError) as error:
        return RekeyFailed(str(error))
    return Rekeyed(instance.generation)
