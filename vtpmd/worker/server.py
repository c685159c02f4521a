"""A worker that serves: loop, clients, ownership and supervision of one instance, put together."""

import selectors
import socket
from collections.abc import Sequence

from vtpmd import __version__
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import StatusReply
from vtpmd.linux.peers import PeerPolicy
from vtpmd.swtpm.table import Turn
from vtpmd.tpm.engine import Reply

from .admission import Admission, Door
from .adoption import Adoption
from .aside import Aside
from .bequest import Bequest
from .clients import Clients
from .estate import Estate
from .giving_way import GivingWay
from .instance import Instance
from .loop import Loop, Part
from .options import Listeners, Options
from .ownership import Ownership
from .resting import Resting
from .side import SideThread
from .supervision import Supervision
from .suspension import Suspended


class Server:
    """Serves one instance until it is told to end. Implements `supervision.Worker`.

    `kept`: descriptors of the state files and the instance's lock, for a successor.
    """

    def __init__(
        self,
        instance: Instance,
        side: SideThread[Reply],
        listeners: Listeners,
        supervision: Supervision,
        options: Options,
        kept: Sequence[int] = (),
    ) -> None:
        self.instance = instance
        self._listeners = listeners
        self._supervision = supervision
        self._options = options
        self.loop = Loop()
        self._aside = Aside(self.loop)
        self._clients = Clients(self.loop, self._aside, instance, side, options)
        self._admission = Admission(options.peers, supervision.report)
        self._ownership = Ownership(
            self.loop, self._clients, supervision.report, self._close_doors, self.start_up
        )
        self._doors: list[Door] = []
        self._estate = Estate(
            instance, self._clients, self._ownership, self._admission, listeners, options, kept
        )
        self._giving_way = GivingWay(self.loop, self._estate)
        self._bequest = Bequest(self._clients, self._ownership, instance.settings)
        self._resting = Resting(
            self.loop, self._estate, supervision, self._giving_way, self._bequest
        )
        if supervision.channel is not None:
            supervision.channel.on_close = self.loop.forget
        supervision.on_report = self.loop.attend
        instance.migration.old_keys.ask = supervision.ask

    def start_up(self) -> None:
        """Power the TPM on as `Options.startup` asks. Raises ControlError."""
        if self._options.startup is None:
            return
        code = self.instance.power.start_up(self._options.startup)
        if code:
            detail = f"TPM2_Startup({self._options.startup.upper()}): response code {code:#x}"
            self._supervision.report("startup-refused", detail)

    def run(self) -> None:
        """Serve until Stop, a signal or `Options.ending`; then the state is durable."""
        self._open()
        parts: list[Part] = [self._clients, self._clients.long_commands, *self._doors, self]
        parts += [self._aside, self._bequest, self._giving_way, self._resting]
        self.loop.run(parts, self._options.signals)
        self._bequest.revoke()
        for client in self._clients.all():
            client.close()
        self._aside.close()

    def free_for(self, turn: Turn) -> bool:
        return self._clients.long_commands.free_for(turn)

    def status(self) -> StatusReply:
        execution = self.instance.execution
        return StatusReply(
            uuid=self._options.uuid,
            name=self._options.name,
            generation=self.instance.generation,
            tpm=self.instance.power.state,
            clients=len(self._clients.all()),
            sandbox=self._options.sandbox,
            since=self._estate.since,
            commands=execution.commands,
            storage=execution.storage,
            dropped_octets=self._clients.drops.octets,
            refused_descriptors=self._clients.drops.descriptors,
            handover=execution.possession.handover.state,
            epoch=execution.state.header.epoch,
            version=__version__,
            begun=execution.possession.handover.begun,
            declared=execution.possession.handover.declared,
            pending=execution.possession.pending is not None,
            profile="" if execution.possession.awaits else execution.engine.facts.profile,
            pcr_banks=() if execution.possession.awaits else execution.engine.pcr_banks,
            responses=dict(execution.tally.responses),
            latencies=tuple(execution.tally.latencies),
            busy=execution.tally.nanoseconds // 1000,
            nv_writes=execution.tally.nv_writes,
            machine=self._ownership.machine,
            failed_tries=execution.engine.failed_tries,
            lockout=execution.engine.in_lockout,
        )

    def resume(self, use: Suspended, clients: Sequence[socket.socket]) -> None:
        """Go on where a predecessor has left off, with its clients. Raises EnvelopeError."""
        self._estate.take_over(use, clients)

    def use_keeper(self, fds: Sequence[int], idle: int) -> None:
        self._resting.use(fds, idle)

    def get_up(self, channel: Channel, memory: int, progress: int, idle: int) -> None:
        """Go on after a sleep, and use the same keeper again."""
        self._resting.keep(channel, memory, progress, idle)

    def give_way(self, fds: Sequence[int]) -> None:
        self._giving_way.begin(fds)

    def admit(self, policy: PeerPolicy) -> None:
        self._admission.policy = policy

    def go_on(self) -> None:
        """Something has ended for which clients may have waited."""
        self._clients.pump()

    def release_clients(self) -> None:
        self._clients.shut_down_data()

    def end(self) -> None:
        """Leave the loop; the instance is powered off and durable."""
        self.loop.end()

    @property
    def deadline(self) -> float | None:
        deadlines = self._supervision.deadline, self.instance.migration.old_keys.deadline
        return min((each for each in deadlines if each is not None), default=None)

    def tick(self, now: float) -> None:
        """End in order if that was asked for; wait for what the supervisor's channel needs."""
        if self.loop.ending and self.free_for(Turn.CANCELS):
            self.instance.power.end()
            self.end()
        self._supervision.tick(now)
        if self.instance.migration.old_keys.expire(now):
            self.go_on()
        channel, events = self._supervision.channel, self._supervision.events
        if channel is not None:
            self.loop.watch(channel, events, lambda: self._supervision.ready(self))

    def _open(self) -> None:
        listeners, long_commands = self._listeners, self._clients.long_commands
        long_commands.on_free = self._go_on
        self.loop.watch(long_commands, selectors.EVENT_READ, long_commands.finish)
        if listeners.adoption is not None:
            adoption = Adoption(
                self.loop,
                Admission(PeerPolicy(), self._supervision.report),
                listeners.adoption,
                lambda channel, message: self._supervision.adopt(channel, message, self),
            )
            self._doors.append(adoption.door)
        for listener, welcome in (
            (listeners.control, self._ownership.add),
            (listeners.data, self._add_data),
        ):
            if listener is not None:
                self._doors.append(Door(self._aside, self._admission, listener, welcome))
        if listeners.control_client is not None:
            self._ownership.add(listeners.control_client)
        if listeners.data_client is not None:
            self._clients.add_data(listeners.data_client)
        if listeners.inheritance is not None:
            self._bequest.inherit(listeners.inheritance)

    def _close_doors(self) -> None:
        """Let nobody connect any more: where somebody knows that we end, another may listen."""
        for door in self._doors:
            door.close()
        self._listeners.remove_names()

    def _go_on(self) -> None:
        self._supervision.pump(self)
        self._clients.pump()

    def _add_data(self, sock: socket.socket) -> None:
        attached = self._ownership.attached
        self._clients.make_room([c for c in self._clients.datas if c is not attached])
        self._clients.add_data(sock)
