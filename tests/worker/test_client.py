"""One client in a process of its own making: what a defect of ours does to it."""

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import cast

from tests.swtpm.fake_host import FakeHost
from vtpmd.swtpm.table import Turn
from vtpmd.worker.control_client import ControlClient
from vtpmd.worker.data_client import DataClient
from vtpmd.worker.instance import Instance


class BrokenHost(FakeHost):
    """Every touch of the TPM is a defect."""

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.execution = self
        self.defects: list[Exception] = []

    def stop(self) -> None:
        raise KeyError("secret")

    def prepare(self) -> bytes | None:
        raise KeyError("secret")

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

    def attach(self, client: ControlClient, data: socket.socket) -> None:
        raise NotImplementedError

    def shut_down(self, client: ControlClient) -> None:
        raise NotImplementedError


def _control_client(sock: socket.socket, host: BrokenHost) -> ControlClient:
    return ControlClient(sock, 0.0, Always(), host.note_defect, host, Always())


def _data_client(sock: socket.socket, host: BrokenHost) -> DataClient:
    return DataClient(sock, 0.0, Always(), cast(Instance, host))


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


def test_a_reader_that_does_not_read_is_not_read_from_either() -> None:
    host = BrokenHost()
    ours, theirs = socket.socketpair()
    with theirs:
        client = _data_client(ours, host)
        client.send(bytes(4 << 20))
        assert client.outgoing
        theirs.sendall(bytes.fromhex("80010000000a00000181"))
        received = b""
        while len(received) < (4 << 20) + 10:
            assert not (client.outgoing and host.defects)
            client.ready(0.0)
            with contextlib.suppress(BlockingIOError):
                received += theirs.recv(1 << 20, socket.MSG_DONTWAIT)
        assert received.endswith(bytes.fromhex("80010000000a00000101"))
        client.close()
