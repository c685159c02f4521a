"""Who may go on with a TPM whose state was read: every event in every state, with raw octets."""

import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from tests.worker.harness import (
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    SHUTDOWN_STATE,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    get_blob,
    opened,
    tpm,
)
from vtpmd.ipc.messages import ChangeHandOver, HandOverAct, HandOverChanged, HandOverRefused
from vtpmd.storage.header import Handover
from vtpmd.swtpm.host import Connection
from vtpmd.worker.handover import STEPS, HandOver, Happening

PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3
RETRY, FAIL = bytes.fromhex("00000800"), bytes.fromhex("00000009")
LOCK_STORAGE = 0x13
STARTUP_CLEAR_PROPERTY = "8001000000160000017a000000060000020100000001"
RETRIES = struct.pack(">I", 300)


def read_state(sock: socket.socket) -> bool:
    """As QEMU does for a migration or a snapshot; whether the state was handed out."""
    answers = []
    for kind in (PERMANENT, VOLATILE, SAVESTATE):
        sock.sendall(struct.pack(">IIII", 0x0C, 1, kind, 0))
        result, _, _, length = struct.unpack(">IIII", sock.recv(16, socket.MSG_WAITALL))
        if length:
            sock.recv(length, socket.MSG_WAITALL)
        answers.append(result)
    return answers == [0, 0, 0x800]


def init(qemu: Qemu) -> bool:
    """A machine's reset; whether the TPM was powered on."""
    assert control(qemu.control, 0x0E) == bytes(4)
    answer = control(qemu.control, 0x02, bytes(4))
    assert answer in (bytes(4), FAIL)
    return answer == bytes(4)


def started(qemu: Qemu) -> bool:
    """INIT and a first command; whether both succeeded."""
    if not init(qemu):
        return False
    answer = tpm(qemu.data, STARTUP_CLEAR).hex()
    assert answer in (SUCCESS, FAILURE)
    return answer == SUCCESS


def works(data: socket.socket) -> bool:
    answer = tpm(data, GET_RANDOM_16)
    assert len(answer) == 28 or answer.hex() == FAILURE
    return len(answer) == 28


@dataclass
class Scene:
    """A machine whose TPM is used, and who else comes."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu

    @classmethod
    def of(cls, host: Host, state: Handover) -> "Scene":
        """The machine has read the state of its TPM, unless that is to be ours."""
        scene = cls(host, host.serve(), Qemu(host.control_path))
        scene.qemu.start()
        assert tpm(scene.qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        if state == "away":
            scene.change("declare")
        if state != "ours":
            assert read_state(scene.qemu.control)
        assert scene.state == (state, 0)
        return scene

    @property
    def state(self) -> tuple[str, int]:
        """The state of hand-over and the epoch: what the worker says, and what is durable."""
        status, header = self.worker.status(), self.host.envelope().header
        assert (status.handover, status.epoch) == (header.handover, header.epoch)
        return status.handover, status.epoch

    def change(self, act: HandOverAct) -> bool:
        """What an administrator asks for; whether it was done."""
        answer = self.worker.ask(ChangeHandOver(act), object)
        assert isinstance(answer, HandOverChanged | HandOverRefused)
        return isinstance(answer, HandOverChanged)

    def another(self) -> Qemu:
        """The machine is gone, and another one comes."""
        self.qemu.close()
        self.qemu = Qemu(self.host.control_path)
        assert tpm(self.qemu.data, READ_CLOCK)[:2] == b"\x80\x01"
        return self.qemu

    def serve_again(self, *, startup: bool = False) -> None:
        self.qemu.close()
        self.worker = self.host.serve(startup=startup)


@pytest.fixture
def scenes(host: Host) -> Iterator[Callable[[Handover], Scene]]:
    made: list[Scene] = []

    def make(state: Handover) -> Scene:
        made.append(Scene.of(host, state))
        return made[-1]

    yield make
    for scene in made:
        scene.qemu.close()


def _read(scene: Scene) -> bool:
    return read_state(scene.qemu.control)


def _read_declared(scene: Scene) -> bool:
    return scene.change("declare") and read_state(scene.qemu.control)


def _command(scene: Scene) -> bool:
    return works(scene.qemu.data)


def _startup(scene: Scene) -> bool:
    return tpm(scene.qemu.data, STARTUP_CLEAR).hex() == SUCCESS


def _shutdown_command(scene: Scene) -> bool:
    return tpm(scene.qemu.data, SHUTDOWN_STATE).hex() == SUCCESS


def _lock(scene: Scene) -> bool:
    return control(scene.qemu.control, LOCK_STORAGE, RETRIES) == bytes(4)


def _lock_of_another(scene: Scene) -> bool:
    return control(scene.another().control, LOCK_STORAGE, RETRIES) == bytes(4)


def _reset(scene: Scene) -> bool:
    return init(scene.qemu)


def _reset_and_command(scene: Scene) -> bool:
    return started(scene.qemu)


def _cold_init(scene: Scene) -> bool:
    return init(scene.another())


def _cold_start(scene: Scene) -> bool:
    return started(scene.another())


def _command_of_another(scene: Scene) -> bool:
    """Without INIT, from where QEMU left."""
    qemu = scene.another()
    return works(qemu.data)


def _tool_beside(scene: Scene) -> bool:
    with connect(scene.host.data_path) as data:
        return works(data)


def _tool_after(scene: Scene) -> bool:
    scene.qemu.close()
    return _tool_beside(scene)


def _probe(scene: Scene) -> bool:
    answer = tpm(scene.qemu.data, READ_CLOCK)
    return answer[6:10] == bytes(4)


def _stop(scene: Scene) -> bool:
    return control(scene.qemu.control, 0x0E) == bytes(4)


def _shutdown(scene: Scene) -> bool:
    return control(scene.qemu.control, 0x03) == bytes(4)


def _disconnect(scene: Scene) -> bool:
    scene.qemu.close()
    return True


def _crash(scene: Scene) -> bool:
    scene.worker.kill()
    scene.serve_again()
    return True


def _restart(scene: Scene) -> bool:
    scene.worker.stop()
    scene.serve_again()
    return True


def _started_by_the_daemon(scene: Scene) -> bool:
    """Whether the TPM is on: only where it is certain that it may be."""
    scene.worker.stop()
    scene.serve_again(startup=True)
    return scene.worker.status().tpm == "on"


def _change(act: HandOverAct) -> Callable[[Scene], bool]:
    return lambda scene: scene.change(act)


YES, NO = True, False
ours, lent, away = get_args(Handover)
# Event: in ours, lent and away, whether it is granted, and the state and epoch that follow.
CELLS: dict[str, tuple[Callable[[Scene], bool], tuple[tuple[bool, str, int], ...]]] = {
    "read": (_read, ((YES, lent, 0), (YES, lent, 0), (NO, away, 0))),
    "read, declared": (_read_declared, ((YES, away, 0), (NO, lent, 0), (NO, away, 0))),
    "command": (_command, ((YES, ours, 0), (YES, ours, 0), (NO, away, 0))),
    "Shutdown": (_shutdown_command, ((YES, ours, 0), (YES, ours, 0), (NO, away, 0))),
    "LOCK_STORAGE": (_lock, ((YES, ours, 0), (YES, ours, 0), (YES, ours, 0))),
    "LOCK_STORAGE, another": (_lock_of_another, ((YES, ours, 0), (YES, lent, 0), (NO, away, 0))),
    "reset": (_reset, ((YES, ours, 0), (YES, lent, 0), (NO, away, 0))),
    "reset, command": (_reset_and_command, ((YES, ours, 0), (YES, ours, 0), (NO, away, 0))),
    "cold INIT": (_cold_init, ((YES, ours, 0), (YES, lent, 0), (NO, away, 0))),
    "cold INIT, command": (_cold_start, ((YES, ours, 0), (YES, ours, 1), (NO, away, 0))),
    "command, another": (_command_of_another, ((YES, ours, 0), (NO, lent, 0), (NO, away, 0))),
    "tool beside": (_tool_beside, ((YES, ours, 0), (NO, lent, 0), (NO, away, 0))),
    "tool after": (_tool_after, ((YES, ours, 0), (NO, lent, 0), (NO, away, 0))),
    "probe": (_probe, ((YES, ours, 0), (YES, lent, 0), (NO, away, 0))),
    "STOP": (_stop, ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "SHUTDOWN": (_shutdown, ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "disconnect": (_disconnect, ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "crash": (_crash, ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "restart": (_restart, ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "daemon's own": (_started_by_the_daemon, ((YES, ours, 0), (NO, lent, 0), (NO, away, 0))),
    "migrate": (_change("declare"), ((YES, ours, 0), (NO, lent, 0), (NO, away, 0))),
    "migrate --cancel": (_change("cancel"), ((YES, ours, 0), (YES, lent, 0), (YES, away, 0))),
    "migrate --done": (_change("done"), ((NO, ours, 0), (YES, away, 0), (YES, away, 0))),
    "take-back": (_change("take-back"), ((YES, ours, 0), (YES, ours, 0), (YES, ours, 1))),
}


@pytest.mark.parametrize("state", get_args(Handover))
@pytest.mark.parametrize("event", CELLS)
def test_each_event_in_each_state(
    scenes: Callable[[Handover], Scene], event: str, state: Handover
) -> None:
    scene = scenes(state)
    act, cells = CELLS[event]
    granted, *after = cells[get_args(Handover).index(state)]
    assert act(scene) is granted
    assert scene.state == tuple(after)


def test_the_table_has_a_step_for_all_that_may_happen_to_what_is_not_ours() -> None:
    """Reads and `done` alone concern what is ours; INIT and `done` leave one state as it is."""
    missing = {(each, state) for each in Happening for state in (lent, away)} - set(STEPS)
    assert missing == {(Happening.INIT, lent), (Happening.DONE, away)}
    assert {each for each, state in STEPS if state == ours} == {
        Happening.READ,
        Happening.READ_FOR_MIGRATION,
        Happening.DONE,
    }


@pytest.mark.parametrize("again", [_crash, _restart])
def test_a_source_is_away_also_for_the_next_worker(
    scenes: Callable[[Handover], Scene], again: Callable[[Scene], bool]
) -> None:
    scene = scenes("away")
    again(scene)
    with Qemu(scene.host.control_path) as qemu:
        before = scene.host.stored()
        assert not init(qemu)
        assert "vtpmctl take-back" in scene.worker.event("state-refused").detail
        assert scene.change("take-back")
        assert started(qemu)
        assert scene.state == ("ours", 1)
    assert scene.host.stored() != before


def is_orderly(qemu: Qemu) -> bool:
    """Whether the TPM says that it was shut down in order before its last start."""
    answer = tpm(qemu.data, STARTUP_CLEAR_PROPERTY)
    assert answer[6:10] == bytes(4)
    return bool(int.from_bytes(answer[-4:]) & 1 << 31)


@pytest.mark.parametrize(
    ("state", "end", "orderly"),
    [("ours", _crash, NO), ("lent", _crash, YES), ("away", _crash, YES), ("away", _shutdown, YES)],
)
def test_a_tpm_that_does_not_go_on_was_not_cut_off(
    scenes: Callable[[Handover], Scene], state: Handover, end: Callable[[Scene], bool],
    orderly: bool,
) -> None:  # fmt: skip
    """What is stored when it is handed over is at rest, whatever becomes of machine and worker."""
    scene = scenes(state)
    end(scene)
    scene.change("take-back")
    with scene.another() as qemu:
        assert started(qemu)
        assert is_orderly(qemu) is orderly


def test_a_tpm_that_goes_on_is_cut_off_as_ever(scenes: Callable[[Handover], Scene]) -> None:
    scene = scenes("lent")
    assert works(scene.qemu.data)
    _crash(scene)
    with scene.another() as qemu:
        assert started(qemu)
        assert not is_orderly(qemu)


def test_the_stricter_of_two_memories_holds(host: Host) -> None:
    """An old file that was put back does not make a TPM ours again."""
    worker = host.serve(handover="away")
    with Qemu(host.control_path) as qemu:
        assert worker.status().handover == "away"
        assert not init(qemu)
        changed = worker.ask(ChangeHandOver("take-back"), HandOverChanged)
        assert (changed.handover, changed.epoch) == ("ours", 1)
        assert started(qemu)


def test_a_cold_start_after_a_loan_is_told(scenes: Callable[[Handover], Scene]) -> None:
    """As after managedsave-remove: the saved machine is given up, the TPM is not."""
    scene = scenes("lent")
    assert control(scene.qemu.control, 0x03) == bytes(4)
    assert started(scene.another())
    assert "epoch 1" in scene.worker.event("begun-anew").detail
    assert "started anew while" in scene.worker.status().begun
    branch = scene.host.envelope().header.branch
    assert branch != bytes(16)
    assert read_state(scene.qemu.control)
    assert started(scene.another())
    assert scene.state == ("ours", 2)
    assert scene.host.envelope().header.branch != branch


@pytest.mark.parametrize("go_on", [_startup, _lock])
def test_a_cold_start_begins_an_epoch_also_if_the_state_is_read_before_a_command(
    scenes: Callable[[Handover], Scene], go_on: Callable[[Scene], bool]
) -> None:
    scene = scenes("lent")
    qemu = scene.another()
    assert init(qemu)
    assert read_state(qemu.control)
    assert scene.state == ("lent", 0)
    assert go_on(scene)
    assert scene.state == ("ours", 1)


@pytest.mark.parametrize(
    "end",
    [
        _reset,
        _lock,
        _change("cancel"),
    ],
    ids=["INIT", "LOCK_STORAGE", "cancel"],
)
def test_a_declared_migration_ends(
    scenes: Callable[[Handover], Scene], end: Callable[[Scene], bool]
) -> None:
    scene = scenes("ours")
    assert scene.change("declare")
    assert scene.worker.status().declared
    assert end(scene)
    assert not scene.worker.status().declared
    assert read_state(scene.qemu.control)
    assert scene.state == ("lent", 0)


def test_a_declared_migration_is_waited_for_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as stored:
        stored.create(b"state")
        handover = HandOver(stored, lambda at_rest: b"state", lambda kind, detail: None)
        handover.declare()
        declared = time.monotonic()
        for seconds, still in ((3500, True), (3700, False)):
            monkeypatch.setattr(time, "monotonic", lambda at=declared + seconds: at)
            assert handover.declared is still
        handover.read(Connection())
        assert handover.state == "lent"


def test_a_declared_migration_is_used_up_by_one_reading(
    scenes: Callable[[Handover], Scene],
) -> None:
    scene = scenes("away")
    assert not scene.worker.status().declared
    assert _lock(scene)
    assert works(scene.qemu.data)
    assert read_state(scene.qemu.control)
    assert scene.state == ("lent", 0)


def test_tools_on_both_sockets_go_on_after_reading(host: Host) -> None:
    """Whoever has no data descriptor uses the data listener."""
    worker = host.serve()
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS
        assert read_state(sock)
        assert worker.status().handover == "lent"
        assert works(data)
        assert worker.status().handover == "ours"
        assert read_state(sock)
        sock.close()
        assert not works(data)
    assert worker.status().handover == "lent"


def test_a_hand_over_that_cannot_be_stored_is_none(
    scenes: Callable[[Handover], Scene],
) -> None:
    scene = scenes("ours")
    _, hard = resource.prlimit(scene.worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(scene.worker.pid, resource.RLIMIT_FSIZE, (0, hard))
    assert not read_state(scene.qemu.control)
    assert scene.worker.event("storage-failing")
    resource.prlimit(scene.worker.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert scene.state == ("ours", 0)
    assert get_blob(scene.qemu.control, PERMANENT)
