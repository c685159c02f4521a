"""While a TPM makes a large key its control channel answers, and can end the command."""

import select
import time

from tests.faults.bystander import Bystander
from tests.faults.machine import (
    RANDOM,
    RC_CANCELED,
    Machine,
    create_rsa,
)
from tests.peers.vtpmd import Vtpmd

CMD_GET_CAPABILITY, CMD_GET_TPMESTABLISHED, CMD_CANCEL = 1, 4, 9
ROUNDS = 10
ATTEMPTS = 10  # a key may be found at once, with luck
PROMPTLY = 0.1


def answered(machine: Machine) -> bool:
    """Whether the TPM command in flight has its answer."""
    return bool(select.select([machine.data], [], [], 0)[0])


def test_control_channel_during_a_long_command(host: Vtpmd) -> None:
    fastest = float("inf")
    overtaken = canceled = 0
    with Machine(host.create("long"), 120) as machine, Bystander(host.create("short")):
        parent = machine.storage_key()
        machine.extend(b"\x21" * 32)
        pcr = machine.pcr()
        for _ in range(ATTEMPTS):
            machine.data.send(create_rsa(parent, 4096))
            for _ in range(ROUNDS):
                began = time.monotonic()
                assert machine.control.command(CMD_GET_TPMESTABLISHED) == bytes(4)
                assert len(machine.control.command(CMD_GET_CAPABILITY)) == 4
                fastest = min(fastest, time.monotonic() - began)
                overtaken += not answered(machine)
            machine.control.command(CMD_CANCEL)
            code = int.from_bytes(machine.data.receive()[6:10], "big")
            assert code in (0, RC_CANCELED)
            assert machine.code(RANDOM) == 0
            assert machine.pcr() == pcr
            if code == RC_CANCELED:
                canceled += 1
            if canceled and overtaken >= ROUNDS:
                break
    assert canceled
    assert overtaken >= ROUNDS
    # The slowest of the answers says as much of the machine's load as of us.
    assert fastest < PROMPTLY


def test_long_command_ends_by_itself(host: Vtpmd) -> None:
    instance = host.create("patient")
    with Machine(instance, 120) as machine:
        parent = machine.storage_key()
        assert machine.code(create_rsa(parent, 2048)) == 0


def test_stopped_during_a_long_command(host: Vtpmd) -> None:
    """An administrator who stops the instance does not wait for the key."""
    instance = host.create("impatient")
    with Machine(instance, 120) as machine:
        machine.define_indices()
        parent = machine.storage_key()
        machine.data.send(create_rsa(parent, 4096))
        instance.stop()
    assert instance.info()["state"] == "stopped"
    instance.daemon.control("start", instance.name)
    with Machine(instance) as machine:
        assert machine.count() == 1
