"""One worker goes on where another gives way: clients notice nothing, whoever dies when."""

import fcntl
import hashlib
import os
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tpm import areas
from tests.tpm.harness import ENCRYPT, Password, Result, Tester, sized
from tests.tpm.seeded_keys import SIGNERS, signed
from tests.worker.harness import (
    DEADLINE,
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    SHUTDOWN_CLEAR,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    get_blob,
    tpm,
    wait_for,
    way,
)
from tests.worker.test_handover import PERMANENT, VOLATILE, read_state
from tests.worker.test_long_commands import create_primary
from tests.worker.test_migration import set_blob
from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.messages import (
    PROGRESS_SIZE,
    Bequeath,
    ChangeHandOver,
    Detained,
    Failed,
    GiveBack,
    HandOverChanged,
    KeeperUsed,
    Message,
    Pcrs,
    Prepared,
    ReadPcrs,
    Ready,
    Succeed,
    Succeeded,
    Succession,
    UseKeeper,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.memory import memory_file
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, RH, SE
from vtpmd.worker import serving_lock
from vtpmd.worker import successor as successor_module
from vtpmd.worker.errors import DetainedError

EXTEND_16 = "80020000004100000182000000100000000940000009000000000000000001000b"


@dataclass
class Machine:
    """QEMU on a TPM whose worker is replaced again and again: `tests.tpm.harness.Peer`."""

    host: Host
    worker: WorkerProcess
    qemu: Qemu
    every_command: bool = True

    def succeed(self) -> None:
        self.worker = self.host.succeed(self.worker)

    def execute(self, command: bytes) -> bytes:
        if self.every_command:
            self.succeed()
        return tpm(self.qemu.data, command.hex())

    def set_locality(self, locality: int) -> None:
        assert control(self.qemu.control, 0x05, bytes((locality, 0, 0, 0))) == bytes(4)

    def hash_event(self, *pieces: bytes) -> None:
        assert control(self.qemu.control, 0x06) == bytes(4)
        for piece in pieces:
            self.succeed()
            body = struct.pack(">I", len(piece)) + piece
            assert control(self.qemu.control, 0x07, body) == bytes(4)
        self.succeed()
        assert control(self.qemu.control, 0x08) == bytes(4)

    def reset(self) -> None:
        self.qemu.reset()

    def close(self) -> None:
        self.qemu.close()


@pytest.fixture
def machine(host: Host) -> Iterator[Machine]:
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        yield Machine(host, worker, qemu)


@pytest.fixture
def tester(machine: Machine) -> Tester:
    tester = Tester(machine)
    assert tester.startup() == 0
    return tester


def test_sessions_objects_and_sequences_go_on(tester: Tester) -> None:
    """Before every command another worker takes over; all HMACs and digests are right."""
    session = tester.start_session(SE.HMAC, aes_bits=128)
    primary = areas.loaded_primary(tester, areas.storage())
    public = tester.run(CC.READ_PUBLIC, [primary]).sized()
    session.attributes |= ENCRYPT
    for _ in range(3):
        assert tester.run(CC.READ_PUBLIC, [primary], auths=[session]).sized() == public
    started = tester.run(CC.HASH_SEQUENCE_START, params=sized(b"") + ALG.SHA384.to_bytes(2))
    assert started.handle is not None
    pieces = [os.urandom(size) for size in (1, 63, 64, 200)]
    for piece in pieces:
        update = tester.run(CC.SEQUENCE_UPDATE, [started.handle], sized(piece), auths=[Password()])
        assert update.rc == 0
    params = sized(b"the end") + RH.NULL.to_bytes(4)
    done = tester.run(CC.SEQUENCE_COMPLETE, [started.handle], params, auths=[Password()])
    assert done.sized() == hashlib.sha384(b"".join(pieces) + b"the end").digest()


def test_a_large_buffer_and_the_keys_that_need_it_go_on(host: Host) -> None:
    host.forget()
    host.manufacture(profile="pqc-v1")
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        assert qemu.attached == bytes(4)
        control(qemu.control, 0x0E)
        control(qemu.control, 0x11, struct.pack(">I", 8192), 16)
        control(qemu.control, 0x02, bytes(4))
        tester = Tester(Machine(host, worker, qemu))
        assert tester.startup() == 0
        template = areas.mldsa(areas.OWN | areas.SIGN | areas.NO_DA, parms=MLDSA_PARMS.MLDSA_87)
        created = areas.create_primary(tester, template)
        assert created.handle is not None, hex(created.rc)
        signature = Result(0, None, signed(tester, created.handle, b"message")[2:]).sized()
        public = created.sized(0)[-2592:]
        assert SIGNERS[MLDSA_PARMS.MLDSA_87].verify(public, b"message", signature, b"")


def test_an_event_of_the_rtm_goes_on(machine: Machine) -> None:
    machine.hash_event(b"one", b"two")
    assert tpm(machine.qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    event = hashlib.sha256(b"onetwo").digest()
    values = machine.worker.ask(ReadPcrs(), Pcrs).banks["sha256"]
    assert values[0] == hashlib.sha256(bytes(31) + b"\4" + event).digest()


def test_nothing_is_said_for_the_guest_and_nothing_is_written(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    stored = machine.host.stored()
    machine.succeed()
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
    assert machine.host.stored() == stored
    status = machine.worker.status()
    assert (status.tpm, status.clients, status.commands) == ("on", 2, 2)


def test_a_shutdown_of_the_guest_stays_in_force(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    tpm(machine.qemu.data, SHUTDOWN_CLEAR)
    generation = machine.worker.status().generation
    machine.succeed()
    machine.qemu.reset()
    assert machine.worker.status().generation == generation  # no other Shutdown was needed


def test_time_goes_on(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)

    def clocks() -> tuple[int, ...]:
        return struct.unpack_from(">QQ", tpm(machine.qemu.data, READ_CLOCK), 10)

    began, first = time.monotonic(), clocks()
    for _ in range(5):
        machine.succeed()
    middle = time.monotonic()
    last, ended = clocks(), time.monotonic()
    for before, after in zip(first, last, strict=True):
        assert (middle - began) * 1000 - 30 <= after - before <= (ended - began) * 1000 + 1


def test_a_countdown_timer_counts_meanwhile(machine: Machine, tester: Tester) -> None:
    machine.every_command = False
    act, get_act = 0x40000110, struct.pack(">III", 0x0000000A, 0x40000110, 1)
    params = (1).to_bytes(4)
    assert tester.run(CC.ACT_SET_TIMEOUT, [act], params, auths=[Password()]).rc == 0
    with _predecessor_held(machine) as go_on:
        wait_for(_after(1.1))
        go_on()
    # TPMS_ACT_DATA: handle, timeout, attributes; signaled is bit 0
    assert tester.run(CC.GET_CAPABILITY, params=get_act).parameters[-8:] == bytes(7) + b"\1"


def test_settings_of_the_channel_go_on(machine: Machine) -> None:
    control(machine.qemu.control, 0x0E)
    sizes = control(machine.qemu.control, 0x11, struct.pack(">I", 3000), 16)
    assert control(machine.qemu.control, 0x02, bytes(4)) == bytes(4)
    tpm(machine.qemu.data, STARTUP_CLEAR)
    machine.set_locality(3)
    machine.succeed()
    assert control(machine.qemu.control, 0x11, bytes(4), 16) == sizes
    assert sizes[4:8] == struct.pack(">I", 3000)
    longest = "8001000000160000017a00000006" + "0000011e" + "00000001"  # TPM_PT_MAX_COMMAND_SIZE
    assert tpm(machine.qemu.data, longest)[-4:] == struct.pack(">I", 3000)
    extend_17 = EXTEND_16.replace("00000010", "00000011", 1)  # from locality 2 on
    assert tpm(machine.qemu.data, extend_17 + "22" * 32)[6:10] == bytes(4)


def test_tools_stay_and_the_channel_keeps_its_owner(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    with connect(machine.host.data_path) as tool, connect(machine.host.control_path) as other:
        assert len(tpm(tool, GET_RANDOM_16)) == 28
        machine.succeed()
        assert control(other, 0x01, length=8) == bytes.fromhex("000000000001ffff")
        assert control(other, 0x02, bytes(4)) != bytes(4)  # INIT is QEMU's alone
        assert len(tpm(tool, GET_RANDOM_16)) == 28
        framed = bytes.fromhex("00000008" + "00" + "0000000c" + GET_RANDOM_16)  # the TCG form
        tool.sendall(framed)
        assert len(tool.recv(4096)) == 28 + 8
        machine.succeed()
        machine.qemu.close()
        machine.succeed()
        assert control(other, 0x02, bytes(4)) == bytes(4)


def test_a_tpm_that_is_off_stays_off(host: Host) -> None:
    worker = host.succeed(host.serve())
    assert worker.status().tpm == "off"
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS


def test_who_has_read_the_state_stays_who_may_go_on(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    assert read_state(machine.qemu.control)
    with connect(machine.host.data_path) as tool:
        machine.succeed()
        assert machine.worker.status().handover == "lent"
        assert tpm(tool, GET_RANDOM_16).hex() == FAILURE
        machine.succeed()
        assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
        assert machine.worker.status().handover == "ours"


def test_a_declared_migration_stays_declared(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    machine.worker.ask(ChangeHandOver("declare"), HandOverChanged)
    machine.succeed()
    assert machine.worker.status().declared
    assert read_state(machine.qemu.control)
    machine.succeed()
    assert machine.worker.status().handover == "away"
    assert tpm(machine.qemu.data, GET_RANDOM_16).hex() == FAILURE


@pytest.mark.parametrize("mine", [True, False], ids=["who brought it", "somebody else"])
def test_received_state_waits_for_who_has_brought_it(machine: Machine, mine: bool) -> None:
    """Also when it is older than ours, as for a machine that goes back to a snapshot."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    blobs = {kind: get_blob(machine.qemu.control, kind) for kind in (PERMANENT, VOLATILE)}
    control(machine.qemu.control, 0x0C, struct.pack(">III", 1, 3, 0), 16)
    tpm(machine.qemu.data, EXTEND_16 + "11" * 32)
    tpm(machine.qemu.data, SHUTDOWN_CLEAR)
    assert control(machine.qemu.control, 0x0E) == bytes(4)
    for kind, blob in blobs.items():
        assert set_blob(machine.qemu.control, kind, blob) == 0
    assert control(machine.qemu.control, 0x02, bytes(4)) == bytes(4)
    with connect(machine.host.data_path) as tool:
        machine.succeed()
        assert machine.worker.status().pending
        if mine:
            assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28  # started already
            assert not machine.worker.status().pending
        else:
            assert tpm(tool, GET_RANDOM_16).hex() == FAILURE
    machine.succeed()
    assert machine.worker.status().pending is not mine


def test_blobs_that_wait_for_init_keep_the_worker(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    blob = get_blob(machine.qemu.control, PERMANENT)
    assert read_state(machine.qemu.control)
    assert control(machine.qemu.control, 0x0E) == bytes(4)
    assert set_blob(machine.qemu.control, PERMANENT, blob) == 0
    with _successor(machine) as successor:
        successor.send(Prepared())
        answer = _receive(successor)
    assert isinstance(answer, Detained)
    assert "blobs" in answer.reason
    assert control(machine.qemu.control, 0x02, bytes(4)) == bytes(4)
    machine.succeed()


def test_half_a_request_is_waited_for(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    command = bytes.fromhex(GET_RANDOM_16)
    machine.qemu.data.sendall(command[:5])
    machine.worker.status()
    with _successor(machine) as successor:
        successor.send(Prepared())
        machine.worker.status()
        machine.qemu.data.sendall(command[5:])
        assert len(machine.qemu.data.recv(4096)) == 28
        assert isinstance(_receive(successor), Succession)


def test_a_long_command_is_waited_for(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    machine.qemu.data.sendall(create_primary(2048, 7))
    machine.succeed()
    assert machine.qemu.data.recv(4096)[6:10] == bytes(4)
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28


def test_nothing_is_served_once_the_state_is_sealed(machine: Machine) -> None:
    """Not what was there already, and not what comes; afterwards it is, once."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    with connect(machine.host.data_path) as tool, _predecessor_held(machine) as go_on:
        clients = [machine.qemu.data, tool]
        for client in clients:
            client.sendall(bytes.fromhex(EXTEND_16 + "33" * 32))
        assert not select.select(clients, [], [], 0.2)[0]
        go_on()
        for client in clients:
            assert client.recv(4096)[6:10] == bytes(4)
    value = bytes(32)
    for _ in range(2):
        value = hashlib.sha256(value + b"\x33" * 32).digest()
    assert machine.worker.ask(ReadPcrs(), Pcrs).banks["sha256"][16] == value


@pytest.mark.parametrize("prepared", [False, True])
def test_a_successor_that_ends_is_forgotten(machine: Machine, prepared: bool) -> None:
    """Before it is prepared, or when it has got everything and served nothing."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    with _successor(machine) as successor:
        if prepared:
            successor.send(Prepared())
            assert isinstance(_receive(successor), Succession)
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
    assert machine.worker.status().tpm == "on"
    machine.succeed()
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28


def test_a_successor_that_hangs_is_not_waited_for(machine: Machine) -> None:
    """Whatever it says later nobody hears."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    with _successor(machine) as successor:
        successor.send(Prepared())
        assert isinstance(_receive(successor), Succession)
        assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
        with pytest.raises(ChannelClosedError):
            successor.send(Succeeded())
    machine.succeed()


def test_a_successor_that_nobody_hears_ends_while_its_predecessor_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(successor_module, "_LETS_GO", 100)
    with (tmp_path / "lock").open("w+") as file:
        monkeypatch.setattr(serving_lock, "_held", [file.fileno()])
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            fcntl.lockf(file.fileno(), fcntl.LOCK_SH)
            os.write(writer, b"!")
            signal.pause()
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        with pytest.raises(DetainedError):
            successor_module._demand_gone()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        successor_module._demand_gone()


def test_who_gives_way_does_not_fall_asleep_before(machine: Machine) -> None:
    """A successor may take longer to be prepared than its clients say nothing."""
    with _keeper(machine, idle=100) as keeper:
        with _successor(machine):
            assert not select.select([keeper], [], [], 0.5)[0]
        assert isinstance(_receive(keeper), GiveBack)


def test_a_predecessor_that_dies_when_all_is_sent_is_succeeded(machine: Machine) -> None:
    tpm(machine.qemu.data, STARTUP_CLEAR)
    tpm(machine.qemu.data, EXTEND_16 + "44" * 32)
    successor = machine.host.spawn()
    ours, theirs = Channel.pair()
    with theirs:
        successor.channel.send(Succeed(machine.host.uuid, "web1"), [theirs.fileno()])
    relay = Channel(ours, Side.PREDECESSOR, State.AWAITED)
    assert isinstance(_receive(relay), Prepared)
    with _successor(machine) as channel:
        channel.send(Prepared())
        succession, fds = _receive_all(channel)
        machine.worker.kill()
    relay.send(succession, fds)
    for fd in fds:
        os.close(fd)
    relay.close()
    successor.receive(Ready)
    machine.worker = successor
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
    extended = hashlib.sha256(bytes(32) + b"\x44" * 32).digest()
    assert successor.ask(ReadPcrs(), Pcrs).banks["sha256"][16] == extended


def test_without_a_predecessor_there_is_nothing_to_go_on_with(machine: Machine) -> None:
    successor = machine.host.spawn()
    ours, theirs = Channel.pair()
    with theirs:
        successor.channel.send(Succeed(machine.host.uuid, "web1"), [theirs.fileno()])
    ours.close()
    successor.wait_until_ended()


def test_state_that_was_changed_meanwhile_is_refused(machine: Machine) -> None:
    """What was sealed beside another permanent state is not gone on with; the predecessor is."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    path = machine.host.state / "nvram"
    older = path.read_bytes()
    tpm(machine.qemu.data, SHUTDOWN_CLEAR)
    newer = path.read_bytes()
    path.write_bytes(older)
    worker, answer = machine.host.try_to_succeed(machine.worker)
    assert isinstance(answer, Failed)
    assert answer.kind == "damaged"
    worker.wait_until_ended()
    path.write_bytes(newer)
    assert len(tpm(machine.qemu.data, GET_RANDOM_16)) == 28
    machine.succeed()


def test_under_clients_that_never_rest_nothing_is_lost_or_done_twice(machine: Machine) -> None:
    """A raw client extends a PCR, another asks, every quarter of a second workers change."""
    tpm(machine.qemu.data, STARTUP_CLEAR)
    with connect(machine.host.data_path) as tool:
        done = threading.Event()
        extended, asked, errors = [0], [0], list[BaseException]()

        def extend() -> None:
            value = 0
            while not done.is_set():
                answer = tpm(machine.qemu.data, EXTEND_16 + f"{value:064x}")
                assert answer[6:10] == bytes(4), answer.hex()
                value += 1
                extended[0] = value

        def draw() -> None:
            while not done.is_set():
                assert len(tpm(tool, GET_RANDOM_16)) == 28
                asked[0] += 1

        threads = [threading.Thread(target=_noting(work, errors)) for work in (extend, draw)]
        for thread in threads:
            thread.start()
        for _ in range(12):
            wait_for(_after(0.25))
            machine.succeed()
        done.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert not errors
    assert extended[0] > 50
    assert asked[0] > 50
    value = bytes(32)
    for number in range(extended[0]):
        value = hashlib.sha256(value + number.to_bytes(32)).digest()
    assert machine.worker.ask(ReadPcrs(), Pcrs).banks["sha256"][16] == value
    assert machine.worker.status().commands == extended[0] + asked[0] + 1


def test_tools_that_connect_anew_each_time_are_served(host: Host) -> None:
    worker = host.serve()
    for option in ("-i", "-c", "-e", "-g", "-s"):
        command = ["swtpm_ioctl", "--unix", str(host.control_path), option]
        tool = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        worker = host.succeed(worker)
        assert tool.wait(DEADLINE) == 0, option


@contextmanager
def _successor(machine: Machine) -> Iterator[Channel]:
    """A successor in this process, to which the machine's worker gives way; it ends with this."""
    with way(machine.worker) as end:
        channel = Channel(end.dup(), Side.SUCCESSOR, State.AWAITED)
    try:
        yield channel
    finally:
        channel.close()


@contextmanager
def _keeper(machine: Machine, idle: int) -> Iterator[Channel]:
    """A keeper in this process, to which the machine's worker may give its TPM."""
    ours, theirs = Channel.pair()
    with theirs, memory_file("sealed") as memory, memory_file("noted", PROGRESS_SIZE) as progress:
        machine.worker.ask(UseKeeper(idle), KeeperUsed, [theirs.fileno(), memory, progress])
    keeper = Channel(ours, Side.PREDECESSOR, State.SUCCEEDED)
    left, fds = _receive_all(keeper)
    close_fds(fds)
    assert isinstance(left, Bequeath)
    yield keeper
    keeper.close()


@contextmanager
def _predecessor_held(machine: Machine) -> Iterator[Callable[[], None]]:
    """Everything is sealed and sent; what it is held by ends when the yielded is called."""
    with _successor(machine) as successor:
        successor.send(Prepared())
        assert isinstance(_receive(successor), Succession)
        yield successor.close


def _receive(channel: Channel) -> Message:
    message, fds = _receive_all(channel)
    for fd in fds:
        os.close(fd)
    return message


def _receive_all(channel: Channel) -> tuple[Message, list[int]]:
    assert select.select([channel], [], [], DEADLINE)[0], "nothing comes"
    return channel.receive()


def _noting(work: Callable[[], None], errors: list[BaseException]) -> Callable[[], None]:
    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    return run


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
