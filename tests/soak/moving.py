"""A migration as an administrator and QEMU make it, between two hosts that share a key provider."""

import threading
from collections.abc import Mapping

from tests.faults.machine import Machine
from tests.peers.vtpmd import Vtpmd, VtpmdInstance


class Move:
    """One machine's way to another host; `done` when it has arrived, or never will."""

    def __init__(self, target: Vtpmd) -> None:
        self.done = threading.Event()
        self._target = target
        self._state: Mapping[int, bytes] = {}
        self._name = ""

    @property
    def target_instance(self) -> VtpmdInstance:
        """The instance that it goes on with."""
        return self._target.instance(self._name)

    def leave(self, instance: VtpmdInstance, machine: Machine) -> None:
        """Declare it, make a place on the target, and read the state: the source is away then."""
        source, target, self._name = instance.daemon, self._target, instance.name
        ticket = source.directory / f"{instance.name}.ticket"
        ticket.unlink(missing_ok=True)
        source.control("migrate", instance.name, "--ticket", str(ticket))
        found = target.control("list")["instances"]
        if any(each["name"] == instance.name for each in found):
            target.control("start", instance.name)
        else:
            target.control("create", "--incoming", "--ticket", str(ticket))
        target.control("migrate-check", "--ticket", str(ticket))
        self._state = machine.control.read_state()

    def arrive(self, timeout: float) -> Machine:
        """The machine at the target, which has taken the state in and sent nothing yet."""
        machine = Machine(self.target_instance, timeout, incoming=True)
        try:
            machine.take_in(self._state)
        except BaseException:
            machine.close()
            raise
        return machine
