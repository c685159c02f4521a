"""What a worker leaves behind, and how another goes on with it after a crash."""

import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.worker.harness import (
    DEADLINE,
    FAILURE,
    GET_RANDOM_16,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    control,
    tpm,
    wait_for,
)
from tests.worker.test_long_commands import create_primary
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import PROGRESS_SIZE, Bequeath, KeeperUsed, UseKeeper
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.memory import memory_file
from vtpmd.worker.progress import VERSION, Step

STOP, INIT, SET_LOCALITY, SET_BLOB = 0x0E, 0x02, 0x05, 0x0D
EXTEND_17 = "80020000004100000182000000110000000940000009000000000000000001000b" + 64 * "0"
"""PCR_Extend of a PCR that may be extended at localities 2 to 4."""
LOCALITY = "80010000000a00000907"


@dataclass
class Keeper:
    """This process, as the keeper of one worker: what it has left, and its progress."""

    channel: Channel
    progress: int
    left: list[int] = field(default_factory=list)

    def hear(self) -> int:
        """Wait for a bequest; of how many descriptors it is."""
        assert select.select([self.channel], [], [], DEADLINE)[0], "nothing is left"
        message, fds = self.channel.receive()
        assert message == Bequeath()
        close_fds(self.left)
        self.left = fds
        return len(fds)

    @property
    def noted(self) -> bytes:
        return os.pread(self.progress, PROGRESS_SIZE, 0)

    def note(self, *, data: int = 0, control: int = 0, request: bytes = b"") -> None:
        """Write what a worker could have noted when it ended."""
        octets = bytes([VERSION, data, control, 0, len(request)]) + request
        os.pwrite(self.progress, octets.ljust(PROGRESS_SIZE, b"\0"), 0)


@contextmanager
def keeping(worker: WorkerProcess) -> Iterator[Keeper]:
    ours, theirs = Channel.pair()
    with ExitStack() as stack:
        memory = stack.enter_context(memory_file("sealed"))
        progress = stack.enter_context(memory_file("noted", PROGRESS_SIZE))
        with theirs:
            worker.ask(UseKeeper(0), KeeperUsed, [theirs.fileno(), memory, progress])
        keeper = Keeper(Channel(ours, Side.PREDECESSOR, State.SUCCEEDED), progress)
        stack.callback(keeper.channel.close)
        yield keeper
        close_fds(keeper.left)


@dataclass
class Stage:
    """A machine whose worker has left its connections with the keeper."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu
    keeper: Keeper

    def crash(self) -> None:
        self.worker.kill()

    def go_on(self) -> WorkerProcess:
        """Another worker serves."""
        self.worker = self.host.inherit([*self.keeper.left, self.keeper.progress])
        return self.worker

    def reset(self) -> None:
        """The machine is reset, and its TPM works."""
        self.qemu.reset()
        assert tpm(self.qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert len(tpm(self.qemu.data, GET_RANDOM_16)) == 28


@pytest.fixture
def stage(host: Host) -> Iterator[Stage]:
    worker = host.serve()
    with Qemu(host.control_path) as qemu, keeping(worker) as keeper:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert keeper.hear() == 2
        yield Stage(host, worker, qemu, keeper)


def silent(sock: socket.socket) -> bool:
    """Whether nothing comes for a moment: not even the end."""
    return not select.select([sock], [], [], 0.2)[0]


def ended(sock: socket.socket) -> bool:
    """Whether the connection has ended."""
    assert select.select([sock], [], [], DEADLINE)[0]
    return sock.recv(1) == b""


def test_the_tpm_is_off_until_the_machine_is_reset(stage: Stage) -> None:
    stage.crash()
    assert silent(stage.qemu.data)
    assert silent(stage.qemu.control)
    worker = stage.go_on()
    assert tpm(stage.qemu.data, GET_RANDOM_16).hex() == FAILURE
    assert worker.status().tpm == "off"
    assert worker.status().clients == 2
    stage.reset()


def test_again_and_again_without_a_keeper_that_was_told(stage: Stage) -> None:
    """The next worker notes its progress where the last one did, until it is given a new place."""
    for _ in range(3):
        stage.crash()
        stage.go_on()
        stage.reset()
        assert not any(stage.keeper.noted[1:3])


def test_a_command_that_ran_gets_one_error(stage: Stage) -> None:
    stage.qemu.data.sendall(create_primary(4096, 1))
    wait_for(lambda: stage.keeper.noted[1] == Step.TAKING)
    wait_for(lambda: not has_unread(stage.keeper.left[1]))
    stage.crash()
    assert silent(stage.qemu.data)
    stage.go_on()
    assert stage.qemu.data.recv(4096).hex() == FAILURE
    assert silent(stage.qemu.data)
    stage.reset()


def has_unread(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_a_command_that_nobody_has_taken_is_answered_once(stage: Stage) -> None:
    os.kill(stage.worker.pid, signal.SIGSTOP)
    stage.qemu.data.sendall(bytes.fromhex(GET_RANDOM_16))
    stage.qemu.control.sendall(struct.pack(">I", STOP))
    stage.crash()
    stage.keeper.note(data=Step.TAKING, control=Step.TAKING, request=struct.pack(">I", STOP))
    stage.go_on()
    assert stage.qemu.data.recv(4096).hex() == FAILURE
    assert stage.qemu.control.recv(4096) == bytes(4)
    assert silent(stage.qemu.data)
    assert silent(stage.qemu.control)
    stage.reset()


@pytest.mark.parametrize(
    ("request_", "on"),
    [(struct.pack(">I", STOP), "off"), (struct.pack(">II", INIT, 0), "on")],
    ids=["STOP", "INIT"],
)
def test_what_a_reset_asks_for_is_done_again_once(stage: Stage, request_: bytes, on: str) -> None:
    stage.crash()
    stage.keeper.note(control=Step.TAKING, request=request_)
    worker = stage.go_on()
    assert stage.qemu.control.recv(4096) == bytes(4)
    assert worker.status().tpm == on
    stage.crash()
    stage.keeper.note(control=Step.REPEATING, request=request_)
    worker = stage.go_on()
    assert stage.qemu.control.recv(4096) == struct.pack(">I", 9)
    assert worker.status().tpm == "off"
    stage.reset()


def test_while_a_request_is_done_again_that_is_noted(stage: Stage) -> None:
    """GET_TPMESTABLISHED: as long an error as an answer, for QEMU reads it blindly."""
    stage.crash()
    stage.keeper.note(control=Step.TAKING, request=struct.pack(">I", 4))
    stage.go_on()
    assert stage.qemu.control.recv(4096) == struct.pack(">II", 0x0A, 0)
    stage.reset()


def test_an_answer_that_was_sent_is_not_sent_again(stage: Stage) -> None:
    os.kill(stage.worker.pid, signal.SIGSTOP)
    with socket.socket(fileno=os.dup(stage.keeper.left[1])) as theirs:
        theirs.sendall(bytes.fromhex(SUCCESS))
    stage.crash()
    stage.go_on()
    assert stage.qemu.data.recv(4096).hex() == SUCCESS
    assert silent(stage.qemu.data)
    stage.reset()


@pytest.mark.parametrize("step", [Step.AMID, 77])
def test_where_nobody_can_know_qemu_is_freed(stage: Stage, step: int) -> None:
    """The control connection goes on: QEMU need not end when its machine is reset."""
    stage.crash()
    stage.keeper.note(data=step)
    stage.go_on()
    assert ended(stage.qemu.data)
    assert control(stage.qemu.control, STOP) == bytes(4)
    assert control(stage.qemu.control, INIT, bytes(4)) == bytes(4)


@pytest.mark.parametrize(
    ("step", "request_"),
    [
        (Step.AMID, b""),
        (Step.TAKING, b"\0\0"),
        (Step.TAKING, struct.pack(">IIII", SET_BLOB, 2, 1, 100)),
        (Step.TAKING, struct.pack(">II", STOP, STOP)),
    ],
)
def test_a_control_request_that_nobody_knows_frees_qemu(
    stage: Stage, step: int, request_: bytes
) -> None:
    stage.crash()
    stage.keeper.note(control=step, request=request_)
    stage.go_on()
    assert ended(stage.qemu.control)
    with Qemu(stage.host.control_path) as other:
        other.start()


def test_what_a_later_version_has_noted_frees_qemu(stage: Stage) -> None:
    stage.crash()
    os.pwrite(stage.keeper.progress, bytes([VERSION + 1]), 0)
    stage.go_on()
    assert ended(stage.qemu.control)
    assert ended(stage.qemu.data)


def test_the_locality_is_that_which_qemu_has_set(stage: Stage) -> None:
    assert control(stage.qemu.control, SET_LOCALITY, b"\x03") == bytes(4)
    wait_for(lambda: stage.keeper.noted[3] == 3)
    stage.crash()
    os.pwrite(stage.keeper.progress, b"\xff", 3)  # of a worker that a guest has taken over
    stage.go_on()
    stage.qemu.reset()
    assert tpm(stage.qemu.data, STARTUP_CLEAR).hex() == LOCALITY  # it is 4: the highest there is
    stage.crash()
    os.pwrite(stage.keeper.progress, b"\x03", 3)
    stage.go_on()
    stage.reset()
    assert extends_17(stage.qemu)
    assert control(stage.qemu.control, SET_LOCALITY, b"\x00") == bytes(4)
    assert not extends_17(stage.qemu)


def extends_17(qemu: Qemu) -> bool:
    """Whether PCR 17 can be extended at the present locality."""
    code = tpm(qemu.data, EXTEND_17)[6:10]
    assert code in (bytes(4), bytes.fromhex(LOCALITY)[6:])
    return code == bytes(4)


def test_who_ends_in_order_leaves_nothing(stage: Stage) -> None:
    stage.worker.stop()
    assert stage.keeper.hear() == 0


def test_nothing_is_left_of_who_hangs_up(stage: Stage) -> None:
    stage.qemu.close()
    assert stage.keeper.hear() == 0
    with Qemu(stage.host.control_path) as other:
        other.start()
        assert stage.keeper.hear() == 2


def test_a_keeper_that_comes_later_has_it_at_once(stage: Stage) -> None:
    stage.qemu.data.sendall(create_primary(4096, 1))
    wait_for(lambda: stage.keeper.noted[1] == Step.TAKING)
    with keeping(stage.worker) as keeper:
        assert keeper.hear() == 2
        assert keeper.noted[1] == Step.TAKING
        stage.keeper = keeper
        stage.crash()
        stage.go_on()
        assert stage.qemu.data.recv(4096).hex() == FAILURE


def test_a_guest_s_commands_are_noted_as_they_go(stage: Stage) -> None:
    assert stage.keeper.noted[0] == VERSION
    for _ in range(100):
        tpm(stage.qemu.data, GET_RANDOM_16)
    assert stage.keeper.noted[1] == Step.IDLE
    stage.qemu.data.sendall(bytes.fromhex(GET_RANDOM_16)[:9])
    wait_for(lambda: stage.keeper.noted[1] == Step.AMID)
    assert stage.qemu.data.recv(4096)[6:] == bytes.fromhex("00000142")
    assert stage.keeper.noted[1] == Step.IDLE
