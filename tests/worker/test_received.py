"""State that came from elsewhere is used at INIT and becomes ours with the guest's first command.

Until then what was ours stays as it is, so that a restore which is given up loses nothing. Which of
two states is in use shows in disableClear: it is SET in the later one.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.worker.harness import (
    DEK_ID,
    FAILURE,
    READ_CLOCK,
    SHUTDOWN_STATE,
    SLOTS,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    get_blob,
    make_key,
    tpm,
)
from tests.worker.test_handover import (
    FAIL,
    PERMANENT,
    SAVESTATE,
    VOLATILE,
    init,
    is_orderly,
    read_state,
    started,
)
from tests.worker.test_identity import once
from tests.worker.test_migration import set_blob
from vtpmd.ipc.messages import (
    ChangeHandOver,
    Failed,
    HandOverChanged,
    Rekey,
    Rekeyed,
    RekeyFailed,
    Reseal,
    Rewrap,
)
from vtpmd.storage.key import Key

DISABLE_CLEAR = "80020000001c000001274000000c" + "00000009" + "400000090000000000" + "01"
PROPERTIES = "8001000000160000017a000000060000020000000001"
INITIALIZE = "80010000000a00000100"
INIT_AND_DELETE_VOLATILE = struct.pack(">I", 1)


@dataclass
class Machine:
    """A machine that was saved, and whose TPM was changed afterwards."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu
    saved: dict[int, bytes]

    @property
    def epoch(self) -> int:
        return self.host.envelope().header.epoch

    def another(self) -> Qemu:
        self.qemu.close()
        self.qemu = Qemu(self.host.control_path)
        return self.qemu

    def bring(self) -> Qemu:
        """Another QEMU, with what was saved, before its INIT."""
        qemu = self.another()
        assert control(qemu.control, 0x0E) == bytes(4)
        for kind, blob in self.saved.items():
            assert set_blob(qemu.control, kind, blob) == 0
        return qemu

    def restore(self) -> Qemu:
        """The same up to INIT: the machine is there and does not run yet."""
        qemu = self.bring()
        assert control(qemu.control, 0x02, INIT_AND_DELETE_VOLATILE) == bytes(4)
        return qemu

    def crash(self) -> None:
        self.worker.kill()
        self.worker = self.host.serve()


@pytest.fixture
def machine(host: Host) -> Iterator[Machine]:
    worker = host.serve()
    qemu = Qemu(host.control_path)
    qemu.start()
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    saved = {kind: get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    assert control(qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16)[:4] == (
        bytes.fromhex("00000800")
    )
    assert tpm(qemu.data, DISABLE_CLEAR)[6:10] == bytes(4)
    machine = Machine(host, worker, qemu, saved)
    yield machine
    machine.qemu.close()


def is_later(qemu: Qemu) -> bool:
    """Whether the TPM is the one that was changed. A guest's command like any other."""
    answer = tpm(qemu.data, PROPERTIES)
    assert answer[6:10] == bytes(4), answer.hex()
    return bool(int.from_bytes(answer[-4:]) & 1 << 8)


def test_a_restored_machine_goes_on_where_it_was_saved(machine: Machine) -> None:
    qemu = machine.restore()
    before = machine.host.stored()
    status = machine.worker.status()
    assert (status.tpm, status.pending, status.epoch) == ("on", True, 0)
    assert machine.host.stored("incoming") is not None
    assert tpm(qemu.data, READ_CLOCK)[6:10] == bytes(4)
    assert machine.host.stored() == before
    assert not is_later(qemu)  # without a Startup: it was on
    assert machine.epoch == 1
    assert machine.host.envelope().header.branch != bytes(16)
    assert machine.host.stored("incoming") is None
    assert not machine.worker.status().pending
    assert machine.worker.status().begun.startswith("a restored machine")
    machine.worker.event("migration-in")


def test_nothing_of_a_state_that_waits_is_stored_as_ours(machine: Machine) -> None:
    """ReadClock changes what is stored, as it voids the Shutdown with which this was saved."""
    assert tpm(machine.qemu.data, SHUTDOWN_STATE).hex() == SUCCESS
    machine.saved = {kind: get_blob(machine.qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    qemu = machine.restore()
    before = machine.host.stored()
    assert tpm(qemu.data, READ_CLOCK)[6:10] == bytes(4)
    assert machine.host.stored() == before
    assert machine.worker.status().pending


def test_blobs_of_a_client_that_ends_before_init_are_nobodys(machine: Machine) -> None:
    machine.bring()
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)
    assert machine.epoch == 0


def test_a_restore_that_ends_right_after_init_loses_nothing(machine: Machine) -> None:
    machine.restore()
    qemu = machine.another()
    assert tpm(qemu.data, READ_CLOCK)[:2] == b"\x80\x01"
    assert started(qemu)
    assert is_later(qemu)
    assert machine.epoch == 0
    assert machine.host.stored("incoming") is None


def test_a_worker_that_dies_before_the_first_command_loses_nothing(machine: Machine) -> None:
    machine.restore()
    machine.crash()
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)


def test_a_restored_machine_that_is_reset_at_once_keeps_what_it_brought(machine: Machine) -> None:
    qemu = machine.restore()
    before = machine.host.stored()
    assert init(qemu)
    assert machine.host.stored() == before  # no Shutdown of what is not ours yet
    assert tpm(qemu.data, PROPERTIES).hex() == INITIALIZE
    assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    assert is_orderly(qemu), "it was at rest where it was saved"
    assert not is_later(qemu)
    assert machine.epoch == 1


def test_nobody_else_has_the_first_command(machine: Machine) -> None:
    machine.restore()
    with connect(machine.host.data_path) as data:
        assert tpm(data, PROPERTIES).hex() == FAILURE
    machine.qemu.close()
    with connect(machine.host.data_path) as data:
        assert tpm(data, PROPERTIES).hex() == FAILURE
    assert machine.worker.status().pending
    assert machine.epoch == 0


def test_a_tools_blobs_are_not_for_qemu(machine: Machine) -> None:
    assert control(machine.qemu.control, 0x03) == bytes(4)
    machine.qemu.close()
    for kind, blob in machine.saved.items():
        with connect(machine.host.control_path) as sock:
            assert set_blob(sock, kind, blob) == 0
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)


def test_saving_a_restored_machine_before_it_runs_makes_it_ours(machine: Machine) -> None:
    qemu = machine.restore()
    assert read_state(qemu.control)
    status = machine.worker.status()
    assert (status.handover, status.epoch, status.pending) == ("lent", 1, False)
    assert not is_later(qemu)
    assert machine.epoch == 1


def test_what_is_newer_here_is_not_lost_when_the_target_dies(machine: Machine) -> None:
    """On a target with an older copy what came is newer: a cold start goes on with it, too."""
    older = (machine.host.state / "nvram").read_bytes()
    assert read_state(machine.qemu.control)
    machine.saved = {}
    assert init(machine.qemu)
    assert tpm(machine.qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    machine.saved = {kind: get_blob(machine.qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    machine.worker.kill()
    (machine.host.state / "nvram").write_bytes(older)
    machine.worker = machine.host.serve()
    qemu = machine.restore()
    machine.crash()
    assert machine.worker.status().pending
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)
    assert machine.epoch == 1


def test_a_crash_between_promotion_and_forgetting_promotes_once(machine: Machine) -> None:
    qemu = machine.restore()
    waiting = (machine.host.state / "incoming").read_bytes()
    assert not is_later(qemu)
    assert tpm(qemu.data, DISABLE_CLEAR)[6:10] == bytes(4)
    machine.worker.kill()
    (machine.host.state / "incoming").write_bytes(waiting)
    machine.worker = machine.host.serve()
    assert not machine.worker.status().pending
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)
    assert machine.epoch == 1


def test_a_rekey_takes_along_what_waits(machine: Machine) -> None:
    qemu = machine.restore()
    key = Key(bytearray(b"\x21" * 32), os.urandom(16), SLOTS)
    machine.worker.ask(Rekey(key), Rekeyed)
    for role in ("nvram", "incoming"):
        assert machine.host.envelope(role).header.dek_id == key.dek_id != DEK_ID
    assert not is_later(qemu)
    assert machine.epoch == 1


def test_what_went_away_comes_back_and_nothing_older_does(machine: Machine) -> None:
    machine.worker.ask(ChangeHandOver("declare"), HandOverChanged)
    gone = {kind: get_blob(machine.qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    control(machine.qemu.control, 0x0C, struct.pack(">III", 1, SAVESTATE, 0), 16)
    assert machine.worker.status().handover == "away"
    qemu = machine.another()
    assert control(qemu.control, 0x0E) == bytes(4)
    assert set_blob(qemu.control, PERMANENT, machine.saved[PERMANENT]) == 0x09
    assert "older than the one" in machine.worker.event("state-refused").detail
    assert not init(qemu)
    machine.saved = gone
    qemu = machine.restore()
    assert is_later(qemu)
    assert (machine.worker.status().handover, machine.epoch) == ("ours", 1)


@pytest.mark.parametrize("powered", [False, True])
def test_state_that_came_before_a_migration_was_done_brings_back_nothing_older(
    machine: Machine, powered: bool
) -> None:
    assert read_state(machine.qemu.control)
    qemu = machine.restore() if powered else machine.bring()
    machine.worker.ask(ChangeHandOver("done"), HandOverChanged)
    if powered:
        assert tpm(qemu.data, PROPERTIES).hex() == FAILURE
    else:
        assert control(qemu.control, 0x02, INIT_AND_DELETE_VOLATILE) == FAIL
    assert (machine.worker.status().handover, machine.epoch) == ("away", 0)


def test_a_rekey_does_not_make_what_waits_seem_older(machine: Machine) -> None:
    older = (machine.host.state / "nvram").read_bytes()
    assert read_state(machine.qemu.control)
    machine.saved = {kind: get_blob(machine.qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    machine.worker.kill()
    (machine.host.state / "nvram").write_bytes(older)
    machine.worker = machine.host.serve()
    machine.restore()
    key = Key(bytearray(b"\x21" * 32), os.urandom(16), SLOTS)
    assert "state waits" in machine.worker.ask(Rekey(key), RekeyFailed).reason
    machine.worker.kill()
    order = Reseal(Host.uuid, "web1", make_key(), key, "off")
    refused = once(machine.host, order, with_files=True)
    assert isinstance(refused, Failed)
    assert "state waits" in refused.reason
    machine.worker = machine.host.serve()
    assert machine.worker.status().pending


def test_a_received_state_that_is_damaged_is_told_and_not_used(machine: Machine) -> None:
    machine.restore()
    machine.worker.kill()
    (machine.host.state / "incoming").write_bytes(b"nonsense")
    machine.worker = machine.host.serve()
    assert "received state" in machine.worker.event("state-damaged").detail
    machine.worker.ask(Rewrap(SLOTS), Rekeyed)  # it is in nobody's way
    qemu = machine.another()
    assert started(qemu)
    assert is_later(qemu)
    qemu = machine.restore()
    assert not is_later(qemu)
