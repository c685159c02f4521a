"""The worker's end of its supervisor: questions answered, events told, a new one welcomed.

A worker whose supervisor is gone keeps serving; what it has to tell meanwhile is for the next
supervisor's Status to find out.
"""

import select
import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.identity import (
    Certify,
    ReadInstalled,
)
from vtpmd.ipc.messages import (
    Admit,
    Admitted,
    ChangeHandOver,
    Event,
    EventKind,
    GivesWay,
    GiveWay,
    HandOverChanged,
    HandOverRefused,
    KeeperUsed,
    Message,
    NotUnwrapped,
    Pcrs,
    ReadPcrs,
    Rekey,
    Rekeyed,
    RekeyFailed,
    ResetLockout,
    Rewrap,
    Status,
    StatusReply,
    Stop,
    Stopped,
    UnwrapKey,
    Unwrapped,
    UseKeeper,
)
from vtpmd.ipc.quota import MAX_DETAIL, workers_quota
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.peers import PeerPolicy
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.swtpm.table import Turn

from . import identity, lockout
from .admission import policy_of
from .execution import Report
from .handover import HandedOverError
from .instance import Instance

_MAX_QUEUED = 256
_LOOKS = (Status, ReadPcrs, ReadInstalled)
"""Questions that are no use of the TPM: whoever only watches does not keep it awake."""


class Worker(Protocol):
    """What the supervisor's messages ask of the worker."""

    instance: Instance

    def free_for(self, turn: Turn) -> bool: ...
    def status(self) -> StatusReply: ...
    def admit(self, policy: PeerPolicy) -> None: ...
    def give_way(self, fds: Sequence[int]) -> None: ...
    def use_keeper(self, fds: Sequence[int], idle: int) -> None: ...
    def go_on(self) -> None: ...
    def release_clients(self) -> None: ...
    def end(self) -> None: ...


_TURNS = {
    Certify: Turn.AFTER,
    Rekey: Turn.AFTER,
    Rewrap: Turn.AFTER,
    ChangeHandOver: Turn.AFTER,
    ResetLockout: Turn.AFTER,
    Stop: Turn.CANCELS,
}


class Supervision:
    """Owns the channel; `channel` is None while there is no supervisor.

    `unheard` is told what there is no supervisor for; `on_report` is called after each report, for
    `events` and `deadline` may be others.
    """

    def __init__(
        self, channel: Channel | None, unheard: Report = lambda kind, detail: None
    ) -> None:
        self.channel = channel
        self.on_report: Callable[[], None] = lambda: None
        self.last_heard = 0.0
        """When the supervisor wanted more than to look, in monotonic seconds."""
        self._unheard = unheard
        self._quota = workers_quota()
        self._pending: deque[Message] = deque()
        self._outgoing: deque[Message] = deque()

    @property
    def events(self) -> int:
        """What to wait for on the channel."""
        waiting = 0 if self._pending else selectors.EVENT_READ
        return waiting | (selectors.EVENT_WRITE if self._outgoing else 0)

    @property
    def awaited(self) -> bool:
        """Whether the supervisor has sent something that was not read yet, or waits for us."""
        if self.channel is None:
            return False
        poller = select.poll()
        poller.register(self.channel, select.POLLIN)
        return bool(self._pending or self._outgoing or poller.poll(0))

    def report(self, kind: EventKind, detail: str) -> None:
        """Tell the supervisor, or only count what is more than a worker may tell."""
        if self._quota.admits(kind, time.monotonic()):
            self._tell(kind, detail)
        self.on_report()

    @property
    def deadline(self) -> float | None:
        """When `tick` has something to tell (monotonic seconds); None while it has not."""
        return self._quota.due

    def tick(self, now: float) -> None:
        """Tell, once for each interval, how many events were only counted."""
        if self._quota.due is not None and self._quota.due <= now:
            self._tell(
                "events-suppressed", f"{self._quota.suppressed()} events: they were too many"
            )

    def _tell(self, kind: EventKind, detail: str) -> None:
        if self.channel is None:
            self._unheard(kind, detail)
        elif len(self._outgoing) < _MAX_QUEUED:
            self.send(Event(kind, detail[:MAX_DETAIL]))

    def ask(self, request: UnwrapKey) -> bool:
        """Ask the supervisor; whether there is one."""
        self.send(request)
        return self.channel is not None

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

    def adopt(self, channel: Channel, first: Message, worker: Worker) -> None:
        """A new supervisor has said its first word: it takes the place of the old one."""
        self.detach()
        self.last_heard = time.monotonic()
        self.channel = channel
        self._pending.append(first)
        self.pump(worker)

    def detach(self) -> None:
        """The supervisor is gone."""
        if self.channel is not None:
            self.channel.close()
        self.channel = None
        self._pending.clear()
        self._outgoing.clear()

    def ready(self, worker: Worker) -> None:
        """The channel is ready for what `events` asked for."""
        self.flush()
        try:
            while self.channel is not None and not self._pending:
                message, fds = self.channel.receive()
                if not isinstance(message, _LOOKS):
                    self.last_heard = time.monotonic()
                match message:
                    case GiveWay():
                        worker.give_way(fds)
                    case UseKeeper():
                        worker.use_keeper(fds, message.idle)
                    case _:
                        close_fds(fds)
                self._pending.append(message)
                self.pump(worker)
        except BlockingIOError:
            return
        except (ChannelClosedError, IllegalMessageError):
            self.detach()

    def pump(self, worker: Worker) -> None:
        """Answer what may be answered now."""
        while self._pending:
            if isinstance(self._pending[0], Stop) and self._pending[0].force:
                worker.release_clients()
            if not worker.free_for(_TURNS.get(type(self._pending[0]), Turn.AT_ONCE)):
                return
            self._answer(self._pending.popleft(), worker)

    def _answer(self, message: Message, worker: Worker) -> None:
        match message:
            case Status():
                self.send(worker.status())
            case ReadPcrs():
                self.send(Pcrs(worker.instance.pcr_values()))
            case ReadInstalled():
                self.send(identity.installed(worker.instance))
            case Certify():
                self.send(identity.certify(message, worker.instance))
            case Rekey() | Rewrap():
                self.send(_rekey(message, worker.instance))
            case ChangeHandOver():
                self.send(_change_hand_over(message, worker.instance))
            case ResetLockout():
                self.send(lockout.reset_served(worker.instance))
            case Unwrapped() | NotUnwrapped():
                worker.instance.migration.old_keys.answer(message)
                worker.go_on()
            case Admit():
                worker.admit(policy_of(message))
                self.send(Admitted())
            case GiveWay():
                self.send(GivesWay())
            case UseKeeper():
                self.send(KeeperUsed())
            case Stop():
                worker.instance.power.end()
                self.send(Stopped(worker.instance.generation))
                worker.end()


def _change_hand_over(message: ChangeHandOver, instance: Instance) -> Message:
    handover = instance.execution.possession.handover
    try:
        handover.change(message.act)
    except (HandedOverError, StorageError, EnvelopeError) as error:
        return HandOverRefused(str(error))
    header = instance.execution.state.header
    return HandOverChanged(handover.state, header.epoch, header.generation)


def _rekey(message: Rekey | Rewrap, instance: Instance) -> Message:
    try:
        if isinstance(message, Rekey):
            instance.execution.rekey(message.key)
        else:
            instance.execution.rewrap(message.slots)
    except (EnvelopeError, StorageError, ValueError) as error:
        return RekeyFailed(str(error))
    return Rekeyed(instance.generation)
