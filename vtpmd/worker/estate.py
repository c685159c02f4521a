"""All that a worker has and a successor goes on with: the TPM, its clients and its descriptors."""

import select
import socket
import time
from collections.abc import Sequence

from vtpmd.ipc.messages import Serve, Succession
from vtpmd.swtpm.table import Turn

from . import suspension
from .admission import Admission
from .clients import Clients
from .instance import Instance
from .options import Listeners, Options
from .ownership import Ownership
from .sources import now
from .suspension import Links, Suspended, Suspension


class Estate:
    """`since`: monotonic milliseconds, when the instance began to be served.

    `kept`: descriptors of the state files and the instance's lock.
    """

    def __init__(
        self,
        instance: Instance,
        clients: Clients,
        ownership: Ownership,
        admission: Admission,
        listeners: Listeners,
        options: Options,
        kept: Sequence[int],
    ) -> None:
        self.since = now()
        self._instance = instance
        self._clients = clients
        self._ownership = ownership
        self._admission = admission
        self._listeners = listeners
        self._options = options
        self._kept = kept

    @property
    def busy(self) -> str:
        """What goes on that will soon be over; empty if nothing does."""
        if not self._clients.long_commands.free_for(Turn.AFTER):
            return "a TPM command runs"
        if any(client.busy for client in self._clients.all()):
            return "a client is in the middle of a request"
        return ""

    def refusal(self) -> str:
        """Why nobody else can go on with it, whose clients are not busy; empty if somebody can.

        What the TPM's time has changed by then is stored.
        """
        execution = self._instance.execution
        if execution.possession.awaits:
            return execution.possession.absent
        if self._instance.migration.waiting:
            return "state blobs wait for the machine's INIT"
        execution.tick()
        if execution.state.unsaved is not None:
            return "its storage fails: what it has in memory is not stored"
        if execution.stale or execution.engine.failed:
            return "its TPM is in failure mode: reset the virtual machine first"
        return ""

    @property
    def last_heard(self) -> float:
        """When a client said anything last, in monotonic seconds; 0 if none is there."""
        return max((client.last_heard for client in self._clients.all()), default=0.0)

    @property
    def machine(self) -> int:
        """The process that has attached a data descriptor, as the kernel names it; 0: none."""
        return self._ownership.machine

    @property
    def due(self) -> int:
        """In how many milliseconds a countdown timer of the TPM ends; 0 while none runs."""
        engine = self._instance.execution.engine
        left = engine.next_timer_end if engine.running else None
        return 0 if left is None else max(1, left)

    @property
    def awaited(self) -> bool:
        """Whether anybody has sent something, or wants to connect, that was not looked at yet."""
        listeners = self._listeners
        sockets = [listeners.control, listeners.adoption, listeners.data, *self._clients.all()]
        poller = select.poll()
        for sock in sockets:
            if sock is not None:
                poller.register(sock, select.POLLIN)
        return bool(poller.poll(0))

    def lay_down(self) -> None:
        """Store the TPM as if its machine had shut it down in order. Raises StorageError.

        Not where what is stored is at rest already, or is another line of its life. The first
        command that comes then stores it as it is.
        """
        execution = self._instance.execution
        if execution.possession.certain() and execution.engine.shutdown_needed:
            execution.possession.resting = True
            execution.state.save(execution.permanent(at_rest=True))

    def seal(self, fd: int) -> tuple[Succession, list[int]]:
        """Seal all of it into a file in memory; what a successor is sent beside that.

        Nothing changes here. Raises OSError, ValueError.
        """
        execution = self._instance.execution
        engine = execution.engine
        volatile = engine.volatile() if engine.running else b""
        use = self._use()  # after its time was looked at: better a moment lost than counted twice
        suspension.write(fd, execution.state, Suspension(use, engine.permanent(), volatile))
        listeners = self._listeners
        sockets = [listeners.control, listeners.adoption, listeners.data, *self._clients.all()]
        fds = [*self._kept, *(sock.fileno() for sock in sockets if sock is not None)]
        return Succession(self._order(), listeners.data is not None), fds

    def take_over(self, use: Suspended, clients: Sequence[socket.socket]) -> None:
        """Go on where a predecessor has left off, with its clients. Raises EnvelopeError."""
        links, sockets = Links(use.links), iter(clients)
        settings, execution = self._instance.settings, self._instance.execution
        settings.locality, settings.buffer_size = use.locality, use.buffer_size
        execution.engine.buffer_size = use.buffer_size
        execution.commands = use.commands
        execution.possession.resume(use.lent, use.pending, use.pending_owner, links)
        execution.possession.resting = use.resting
        drops = self._clients.drops
        drops.octets, drops.descriptors = use.dropped_octets, use.refused_descriptors
        self.since = use.since
        for number in use.controls:
            self._clients.add_control(next(sockets), self._ownership, links.at(number))
        for number in use.datas:
            if connection := links.at(number):
                self._clients.add_descriptor(next(sockets), connection)
            else:
                self._clients.add_data(next(sockets))
        self._ownership.resume(use.owner, use.attached)

    def _use(self) -> Suspended:
        """How the TPM is used at this moment."""
        execution, clients, links = self._instance.execution, self._clients, Links()
        controls = tuple(links.number(client.connection) for client in clients.controls)
        datas = tuple(links.number(client.connection) for client in clients.datas)
        owner, attached = self._ownership.suspend()
        lent, pending, pending_owner = execution.possession.suspend(links)
        return Suspended(
            sealed=time.monotonic_ns() // 1000,
            since=self.since,
            locality=self._instance.settings.locality,
            buffer_size=self._instance.settings.buffer_size,
            commands=execution.commands,
            dropped_octets=clients.drops.octets,
            refused_descriptors=clients.drops.descriptors,
            running=execution.engine.running,
            durable=execution.state.durable,
            links=links.links,
            controls=controls,
            datas=datas,
            owner=owner,
            attached=attached,
            lent=lent,
            pending=pending,
            pending_owner=pending_owner,
            resting=execution.possession.resting,
        )

    def _order(self) -> Serve:
        """The order to serve it as it is served now."""
        options, policy = self._options, self._admission.policy
        execution = self._instance.execution
        return Serve(
            uuid=options.uuid,
            name=options.name,
            key=execution.state.key,
            startup=options.startup is not None,
            set_locality=options.set_locality,
            check_peers=not policy.anybody,
            peer_uids=tuple(sorted(policy.uids)),
            peer_gids=tuple(sorted(policy.gids)),
            handover=execution.possession.handover.state,
        )
