"""Clients of the control and data sockets that talk nonsense, too much, half or not at all."""

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.bystander import Bystander
from tests.faults.machine import INDEX_SIZE, RANDOM, RC_COMMAND_SIZE, Machine, answers
from tests.peers.client import CMD_INIT, CMD_SET_DATAFD, STARTUP_CLEAR, Control, DataSocket
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

CMD_GET_CAPABILITY, CMD_HASH_START, CMD_HASH_DATA = 1, 6, 7
CMD_SET_STATEBLOB, CMD_LOCK_STORAGE = 13, 19
DELETE_VOLATILE = 1
COMMANDS = 20
DEADLINE = 60.0
MOST_DESCRIPTORS = 96
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def instance(host: Vtpmd) -> VtpmdInstance:
    instance = host.create("web1")
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(b"\x44" * INDEX_SIZE)
        until(lambda: keeps_progress(instance.process()))
    return instance


@pytest.fixture(autouse=True)
def unharmed(host: Vtpmd, instance: VtpmdInstance) -> Iterator[None]:
    """The same worker still serves the next machine, with nothing lost and nothing kept."""
    worker = instance.process()
    with Machine(instance) as machine:
        machine.pcr()
    before = descriptors(worker)
    yield
    assert instance.process() == worker
    with Control(instance.control) as control:
        # Garbage may have handed the state over, or stored a volatile state to go on with.
        control.command(CMD_LOCK_STORAGE, bytes(4))
        control.command(CMD_INIT, struct.pack(">I", DELETE_VOLATILE))
    with Machine(instance) as machine:
        assert machine.read() == b"\x44" * INDEX_SIZE
    until(lambda: descriptors(worker) <= before)
    assert "defect" not in host.log()


def until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline


def keeps_progress(pid: int) -> bool:
    """Whether a worker has what it shares with the keeper: it comes once, and stays."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except PermissionError:
        return True
    return any("memfd:suspended" in link for link in links)


def descriptors(pid: int) -> int:
    """How many a worker has open; 0 where only root may see that."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except PermissionError:
        return 0


@contextlib.contextmanager
def connection(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))  # waits while the backlog is full
        sock.settimeout(DEADLINE)
        yield sock


def closed(sock: socket.socket) -> bool:
    """Read until the other end closes."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass
    return True


control_octets = st.one_of(
    st.binary(max_size=64),
    st.builds(
        lambda code, body: struct.pack(">I", code) + body,
        st.integers(0, COMMANDS + 2),
        st.binary(max_size=32),
    ),
    st.builds(
        lambda code, body: struct.pack(">I", code) + body,
        st.sampled_from([CMD_HASH_DATA, CMD_SET_STATEBLOB]),
        st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(
            lambda words: struct.pack(f">{len(words)}I", *words)
        ),
    ),
)


@EXAMPLES
@given(messages=st.lists(control_octets, min_size=1, max_size=6))
def test_garbage_on_the_control_socket(instance: VtpmdInstance, messages: list[bytes]) -> None:
    with connection(instance.control) as sock, contextlib.suppress(ConnectionError):
        for message in messages:
            sock.sendall(message)
    with Control(instance.control, DEADLINE) as control:
        assert len(control.command(CMD_GET_CAPABILITY)) == 4


@EXAMPLES
@given(messages=st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4))
def test_garbage_on_the_data_socket(instance: VtpmdInstance, messages: list[bytes]) -> None:
    with connection(instance.data) as sock, contextlib.suppress(ConnectionError):
        for message in messages:
            sock.sendall(message)
    response = DataSocket(instance.data, DEADLINE).execute(RANDOM)
    assert len(response) >= 10


@pytest.mark.parametrize("cut", [1, 3, 4, 6, 7])
def test_half_a_control_message(instance: VtpmdInstance, cut: int) -> None:
    """Its connection is closed after a while; meanwhile others are answered."""
    message = struct.pack(">II", CMD_INIT, 0)
    with connection(instance.control) as half:
        half.sendall(message[:cut])
        with Control(instance.control) as control:
            control.command(CMD_GET_CAPABILITY)
        assert closed(half)


@pytest.mark.parametrize("cut", [1, 5, 9, 11])
def test_half_a_tpm_command(instance: VtpmdInstance, cut: int) -> None:
    """It is refused after a while, and the connection goes on: QEMU has no other."""
    with Machine(instance) as machine, connection(instance.data) as half:
        half.sendall(RANDOM[:cut])
        assert machine.code(RANDOM) == 0
        assert int.from_bytes(half.recv(64)[6:10], "big") == RC_COMMAND_SIZE
        half.sendall(RANDOM)
        assert half.recv(64)[6:10] == bytes(4)


def test_garbage_on_the_machines_data_channel(instance: VtpmdInstance) -> None:
    """A machine that sends nonsense gets error codes, and its TPM goes on."""
    with Machine(instance) as machine:
        for size in (0, 9, 10, 4097, 2**32 - 1):
            header = struct.pack(">HII", 0x8001, size, 0xFFFFFFFF)
            assert machine.code(header[:10]) != 0
            assert machine.code(RANDOM) == 0
        for tag in (0, 0x00C1, 0x8003, 0xFFFF):
            assert machine.code(struct.pack(">HII", tag, 10, 0x17B)) != 0
        assert machine.read() == b"\x44" * INDEX_SIZE


def test_silent_clients(instance: VtpmdInstance) -> None:
    """Those who say nothing keep nobody out, and stay as long as there is room."""
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connection(instance.control))
            stack.enter_context(connection(instance.data))
        with Control(instance.control, DEADLINE) as control:
            control.command(CMD_GET_CAPABILITY)
        assert len(DataSocket(instance.data, DEADLINE).execute(RANDOM)) >= 10
        assert descriptors(instance.process()) < MOST_DESCRIPTORS


def test_hundred_connections_at_once(host: Vtpmd, instance: VtpmdInstance) -> None:
    with contextlib.ExitStack() as stack, Bystander(host.create("bystander")):
        clients = []
        for _ in range(100):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(instance.control))
            sock.settimeout(DEADLINE)
            clients.append(sock)
        served = 0
        for sock in clients:
            with contextlib.suppress(ConnectionError):
                sock.sendall(struct.pack(">I", CMD_GET_CAPABILITY))
                served += len(sock.recv(64)) == 8
        assert served >= 16
        with Control(instance.control, DEADLINE) as control:
            control.command(CMD_GET_CAPABILITY)


def test_machine_among_a_hundred_connections(instance: VtpmdInstance) -> None:
    """While a machine has its TPM, nobody gets between; the others wait outside."""
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(Machine(instance))
        worker = instance.process()
        for path in (instance.control, instance.data):
            for _ in range(100):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):  # the backlog is full
                    sock.connect(str(path))
        for _ in range(50):
            assert machine.code(RANDOM) == 0
            machine.control.command(CMD_GET_CAPABILITY)
        assert descriptors(worker) < MOST_DESCRIPTORS


def test_flood_of_descriptors(instance: VtpmdInstance) -> None:
    """None is kept: not too many at once, not those nobody asked for, not of the wrong kind."""
    worker = instance.process()
    before = descriptors(worker)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        for count in (1, 4, 5, 50, 250):
            for code in (CMD_GET_CAPABILITY, CMD_SET_DATAFD, 0xFFFF):
                for _ in range(20):
                    with connection(instance.control) as sock:
                        socket.send_fds(sock, [struct.pack(">I", code)], [null] * count)
                        assert sock.recv(64)
        with connection(instance.data) as data:
            for _ in range(100):
                socket.send_fds(data, [RANDOM], [null] * 100)
                assert data.recv(64)
        with connection(instance.control) as sock:
            for _ in range(300):  # one octet at a time, each with a descriptor
                with contextlib.suppress(ConnectionError):
                    socket.send_fds(sock, [b"\0"], [null])
            until(lambda: descriptors(worker) < MOST_DESCRIPTORS)
    finally:
        os.close(null)
    until(lambda: descriptors(worker) <= before)


def test_second_data_descriptor_is_refused(instance: VtpmdInstance) -> None:
    worker = instance.process()
    with Machine(instance) as machine:
        before = descriptors(worker)
        for _ in range(50):
            ours, theirs = socket.socketpair()
            with ours, theirs, pytest.raises(Exception, match="0000001f"):
                machine.control.command(CMD_SET_DATAFD, descriptors=(theirs.fileno(),))
        assert machine.code(RANDOM) == 0
        assert descriptors(worker) <= before


@pytest.mark.parametrize("length", [512 * 1024 + 1, 2**31, 2**32 - 1])
def test_oversize_state_blob(instance: VtpmdInstance, length: int) -> None:
    with Control(instance.control) as control:
        control.command(14)
    memory = resident(instance.process())
    with connection(instance.control) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(struct.pack(">IIII", CMD_SET_STATEBLOB, 0, 1, length))
        assert sock.recv(64)[:4] == struct.pack(">I", 0x17)
        assert closed(sock)
    assert resident(instance.process()) - memory < 4 << 20


def test_endless_hash_data(instance: VtpmdInstance) -> None:
    """It is hashed as it comes: what is announced costs no memory."""
    worker = instance.process()
    with Machine(instance) as machine:
        machine.control.command(CMD_HASH_START)
    memory = resident(worker)
    with connection(instance.control) as sock:
        sock.sendall(struct.pack(">II", CMD_HASH_DATA, 2**32 - 1))
        for _ in range(16):
            sock.sendall(bytes(65536))
        assert answers(instance)
    assert resident(worker) - memory < 4 << 20


def resident(pid: int) -> int:
    """Bytes of memory in use by a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_client_that_reads_no_answers(instance: VtpmdInstance) -> None:
    """Its answers wait for it, up to what a socket holds; nobody else does."""
    worker = instance.process()
    with Machine(instance) as machine, connection(instance.data) as greedy:
        memory = resident(worker)
        greedy.setblocking(False)
        sent = 0
        while sent < 32 << 20:
            try:
                sent += greedy.send(RANDOM * 1000)
            except BlockingIOError:
                if not select.select([], [greedy], [], 0.2)[1]:
                    break
        assert machine.code(RANDOM) == 0
        assert resident(worker) - memory < 8 << 20


def test_disconnected_amid_a_command(instance: VtpmdInstance) -> None:
    for _ in range(50):
        with connection(instance.data) as sock:
            sock.sendall(STARTUP_CLEAR + RANDOM * 20)
        with connection(instance.control) as sock:
            sock.sendall(struct.pack(">I", CMD_GET_CAPABILITY) * 20)
    assert answers(instance)
