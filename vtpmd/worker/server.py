"""A worker that serves: loop, clients, ownership and supervision of one instance, put together."""

import selectors

from vtpmd.ipc.messages import StatusReply
from vtpmd.linux.peers import PeerPolicy
from vtpmd.swtpm.table import Turn
from vtpmd.tpm.engine import Reply

from .admission import Admission
from .adoption import Adoption
from .clients import Clients
from .instance import Instance
from .loop import Loop
from .options import Listeners, Options
from .ownership import Ownership
from .side import SideThread
from .sources import now
from .supervision import Supervision


class Server:
    """Serves one instance until it is told to end. Implements `supervision.Worker`."""

    def __init__(
        self,
        instance: Instance,
        side: SideThread[Reply],
        listeners: Listeners,
        supervision: Supervision,
        options: Options,
    ) -> None:
        self.instance = instance
        self._listeners = listeners
        self._supervision = supervision
        self._options = options
        self._since = now()
        self.loop = Loop()
        self._clients = Clients(self.loop, instance, side, options)
        self._admission = Admission(options.peers, supervision.report)
        self._ownership = Ownership(
            self.loop,
            self._clients,
            self._admission,
            listeners.control,
            supervision.report,
            self.start_up,
        )
        supervision.on_detach = self.loop.forget
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
        self.loop.run((self._clients, self._clients.long_commands, self), self._options.signals)
        for client in self._clients.all():
            client.close()

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
            since=self._since,
            commands=execution.commands,
            storage=execution.storage,
            dropped_octets=self._clients.drops.octets,
            refused_descriptors=self._clients.drops.descriptors,
            handover=execution.possession.handover.state,
            epoch=execution.state.header.epoch,
            begun=execution.possession.handover.begun,
            declared=execution.possession.handover.declared,
            pending=execution.possession.pending is not None,
        )

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
            self.instance.power.stop()
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
            Adoption(
                self.loop,
                Admission(PeerPolicy(), self._supervision.report),
                listeners.adoption,
                lambda channel, message: self._supervision.adopt(channel, message, self),
            )
        if listeners.data is not None:
            self.loop.watch(listeners.data, selectors.EVENT_READ, self._accept_data)
        if listeners.control_client is not None:
            self._ownership.add(listeners.control_client)
        if listeners.data_client is not None:
            self._clients.add_data(listeners.data_client)
        self._ownership.review()

    def _go_on(self) -> None:
        self._supervision.pump(self)
        self._clients.pump()

    def _accept_data(self) -> None:
        assert self._listeners.data is not None
        sock = self._admission.accept(self._listeners.data)
        if sock is not None:
            attached = self._ownership.attached
            self._clients.make_room([c for c in self._clients.datas if c is not attached])
            self._clients.add_data(sock)
