"""One client in a process of its own making: what a defect of ours does to it."""

import contextlib
import selectors
import socket
import struct
from collections.abc import Callable
from typing import cast

import pytest

from tests.swtpm.fake_host import FakeHost
from vtpmd.swtpm.host import Connection
from vtpmd.swtpm.table import Command, Turn
from vtpmd.tpm.engine import Reply
from vtpmd.worker.control_client import ControlClient
from vtpmd.worker.data_client import DataClient, Dialect
from vtpmd.worker.drops import Drops
from vtpmd.worker.instance import Instance
from vtpmd.worker.tally import Tally


class BrokenHost(FakeHost):
    """Every touch of the TPM is a defect."""

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.execution = self.engine = self
        self.tally = Tally()
        self.defects: list[Exception] = []
        self.executed: list[bytes] = []

    def stop(self) -> None:
        raise KeyError("secret")

    def prepare(self, command: bytes, connection: Connection | None) -> bytes | None:
        raise KeyError("secret")

    def execute(self, command: bytes, locality: int, connection: Connection | None = None) -> bytes:
        self.executed.append(command)
        return self.prepare(command, connection) or b""

    def note_defect(self, error: Exception) -> None:
        self.defects.append(error)


class Always:
    """It is everybody's turn."""

    def free_for(self, turn: Turn) -> bool:
        return True

    def run(
        self, client: DataClient, command: bytes, locality: int, respond: Callable[[bytes], None]
    ) -> None:
        raise NotImplementedError

    def withhold(
        self, client: DataClient, command: bytes, unstored: Reply, respond: Callable[[bytes], None]
    ) -> None:
        raise NotImplementedError

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        raise NotImplementedError

    def shut_down(self, client: ControlClient) -> None:
        raise NotImplementedError

    def permits(self, client: ControlClient, command: Command) -> bool:
        return True

    def refused(self, client: ControlClient, command: Command) -> None:
        raise NotImplementedError


class Never(Always):
    """It is nobody's turn."""

    def free_for(self, turn: Turn) -> bool:
        return False


_NO_DROPS = Drops(lambda kind, detail: None)


def _control_client(sock: socket.socket, host: BrokenHost) -> ControlClient:
    return ControlClient(
        sock, 0.0, Always(), host.note_defect, host, Always(), _NO_DROPS.of("a client")
    )


def _data_client(sock: socket.socket, host: BrokenHost, drops: Drops | None = None) -> DataClient:
    of = (drops or _NO_DROPS).of("a client")
    return DataClient(sock, 0.0, Always(), cast(Instance, host), Dialect(False), of)


def test_a_defect_is_answered_noted_and_survived() -> None:
    host = BrokenHost()
    makers: list[Callable[[socket.socket, BrokenHost], ControlClient | DataClient]]
    makers = [_control_client, _data_client]
    requests = [struct.pack(">I", 0x0E), bytes.fromhex("80010000000a00000181")]
    answers = ["00000009", "80010000000a00000101"]
    for make, request, answer in zip(makers, requests, answers, strict=True):
        ours, theirs = socket.socketpair()
        with theirs:
            client = make(ours, host)
            for _ in range(2):
                theirs.sendall(request)
                client.ready(0.0)
                assert theirs.recv(64).hex() == answer
            client.close()
    assert [type(error) for error in host.defects] == [KeyError] * 4


def test_the_rest_of_a_command_is_none_of_its_own() -> None:
    """Even if it looks like one."""
    host = BrokenHost()
    inner = bytes.fromhex("80010000000a00000181")
    outer = bytes.fromhex("80010000001400000181") + inner
    ours, theirs = socket.socketpair()
    with theirs:
        client = _data_client(ours, host)
        for part in (outer[:10], inner):
            theirs.sendall(part)
            client.ready(0.0)
        assert theirs.recv(64).hex() == "80010000000a00000101"
        client.close()
    assert inner not in host.executed
    assert len(host.defects) == 1


class Attaching(Always):
    """Takes note of what is attached."""

    def __init__(self) -> None:
        self.attached: list[socket.socket] = []

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        self.attached.append(data)


@pytest.mark.parametrize("early", [2, 4])
def test_a_descriptor_waits_for_the_message_that_it_came_with(early: int) -> None:
    """Here the second one in a packet, of which a rest may come later."""
    host, attaching = BrokenHost(), Attaching()
    get_config, set_datafd = struct.pack(">I", 0x0F), struct.pack(">I", 0x10)
    ours, theirs = socket.socketpair()
    data, others = socket.socketpair()
    with theirs, data, others:
        client = ControlClient(
            ours, 0.0, Always(), host.note_defect, host, attaching, _NO_DROPS.of("a client")
        )
        socket.send_fds(theirs, [get_config + set_datafd[:early]], [data.fileno()])
        client.ready(0.0)
        if early < len(set_datafd):
            theirs.sendall(set_datafd[early:])
            client.ready(0.0)
        assert theirs.recv(64) == bytes(8) + bytes(4)
        client.close()
        (attached,) = attaching.attached
        attached.close()


def test_what_comes_before_an_answer_is_out_is_dropped() -> None:
    """Also while a client does not read: nothing is queued for it."""
    host = BrokenHost()
    drops = Drops(lambda kind, detail: events.append((kind, detail)))
    events: list[tuple[str, str]] = []
    command = bytes.fromhex("80010000000a00000181")
    ours, theirs = socket.socketpair()
    with theirs:
        client = _data_client(ours, host, drops)
        client.send(bytes(4 << 20))
        received = 0
        while client.outgoing:
            theirs.sendall(command)
            client.ready(0.0)
            with contextlib.suppress(BlockingIOError):
                received += len(theirs.recv(1 << 20, socket.MSG_DONTWAIT))
        assert not host.defects  # none of these commands got as far as the TPM
        while received < 4 << 20:
            received += len(theirs.recv(1 << 20))
        theirs.sendall(command)
        client.ready(0.0)
        assert theirs.recv(64).hex() == "80010000000a00000101"
        client.close()
    assert drops.octets > len(command)
    assert drops.octets % len(command) == 0
    assert [kind for kind, _ in events] == ["octets-dropped"]
    assert events[0][1].startswith("a client sent ")


class TalkativeHost(BrokenHost):
    """Answers at length."""

    def prepare(self, command: bytes, connection: Connection | None) -> bytes | None:
        return bytes.fromhex("800100000af900000000") + bytes(2799)


@pytest.mark.parametrize(
    ("sent", "as_before"),
    [
        ("80010000000a00000181", True),  # a whole command
        ("80010000000a0000018180", True),  # with an octet behind it, which is dropped at once
        ("80010000000a000001", False),  # the rest has a deadline
        ("800100000009000001", True),  # none: refused
        ("00000008030000000a80010000000a00000181", True),  # the TCG form is none on a descriptor
    ],
)
def test_a_client_says_when_it_waits_as_before(sent: str, as_before: bool) -> None:
    """Only then may the loop go on without looking after deadlines and what it waits for."""
    ours, theirs = socket.socketpair()
    with theirs:
        client = _data_client(ours, BrokenHost())
        theirs.sendall(bytes.fromhex(sent))
        said = client.ready(0.0)
        assert not said or as_before
        assert (client.deadline is None and client.events == selectors.EVENT_READ) is as_before
        theirs.close()
        client.on_close = lambda connection: closing.append(connection.fileno())
        closing: list[int] = []
        assert not client.ready(0.0)
        assert client.closed
        assert closing[0] >= 0  # whoever waits for it is told while it can still be named
        assert len(closing) == 1


def test_a_client_that_does_not_read_is_waited_for_otherwise() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        host = TalkativeHost()
        client = _data_client(ours, host)
        theirs.setblocking(False)
        said = True
        while said:
            theirs.sendall(bytes.fromhex("80010000000a00000181"))
            said = client.ready(0.0)
            assert said is not bool(client.outgoing)
        assert client.events == selectors.EVENT_WRITE
        client.close()


class Impatient(TalkativeHost):
    """While a command runs, its client sends `more`."""

    def __init__(self, client: socket.socket, more: bytes) -> None:
        super().__init__()
        self._client = client
        self._more = more

    def prepare(self, command: bytes, connection: Connection | None) -> bytes | None:
        self._client.sendall(self._more)
        return super().prepare(command, connection)


def test_what_comes_while_a_command_runs_is_dropped_and_counted() -> None:
    command = bytes.fromhex("80010000000a00000181")
    drops = Drops(lambda kind, detail: None)
    ours, theirs = socket.socketpair()
    with theirs:
        host = Impatient(theirs, command * 3)
        client = _data_client(ours, host, drops)
        for times in (1, 2):
            theirs.sendall(command)
            assert client.ready(0.0)
            assert len(theirs.recv(4096)) == 2809
            assert host.executed == [command] * times
            assert drops.octets == 30 * times
        assert not client.has_sent()
        client.close()


def test_a_command_waits_for_the_long_one_of_another_client() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        host = TalkativeHost()
        client = DataClient(
            ours, 0.0, Never(), cast(Instance, host), Dialect(False), _NO_DROPS.of("a client")
        )
        theirs.sendall(bytes.fromhex("80010000000a00000181"))
        assert not client.ready(0.0)
        assert client.events == 0
        assert not host.executed
        client.close()


def test_an_answer_longer_than_the_buffer_becomes_an_error() -> None:
    host = TalkativeHost()
    command = bytes.fromhex("80010000000a00000181")
    ours, theirs = socket.socketpair()
    with theirs:
        client = _data_client(ours, host)
        for size, answer in (
            (2809, host.prepare(command, None)),
            (2808, bytes.fromhex("80010000000a00000095")),
        ):
            host.buffer_size = size
            theirs.sendall(command)
            client.ready(0.0)
            assert theirs.recv(4096) == answer
        client.close()
