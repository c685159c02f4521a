"""One client in a process of its own making: what a defect of ours does to it."""

import contextlib
import socket
import struct

from tests.swtpm.fake_host import FakeHost
from vtpmd.swtpm.table import Turn
from vtpmd.worker.clients import ControlClient, DataClient


class BrokenHost(FakeHost):
    """Every touch of the TPM is a defect."""

    def __init__(self) -> None:
        super().__init__()
        self.running = True
        self.defects: list[Exception] = []

    def stop(self) -> None:
        raise KeyError("secret")

    def prepare(self) -> bytes | None:
        raise KeyError("secret")

    def note_defect(self, error: Exception) -> None:
        self.defects.append(error)


class BrokenDesk:
    """A loop around a broken host."""

    set_locality = False

    def __init__(self) -> None:
        self.instance = BrokenHost()

    def free_for(self, turn: Turn) -> bool:
        return True


def test_a_defect_is_answered_noted_and_survived() -> None:
    desk = BrokenDesk()
    for client_class, request, answer in (
        (ControlClient, struct.pack(">I", 0x0E), "00000009"),
        (DataClient, bytes.fromhex("80010000000a00000181"), "80010000000a00000101"),
    ):
        ours, theirs = socket.socketpair()
        with theirs:
            client = client_class(desk, ours, 0.0)  # type: ignore[arg-type]
            for _ in range(2):
                theirs.sendall(request)
                client.ready(0.0)
                assert theirs.recv(64).hex() == answer
            client.close()
    assert [type(error) for error in desk.instance.defects] == [KeyError] * 4


def test_a_reader_that_does_not_read_is_not_read_from_either() -> None:
    desk = BrokenDesk()
    ours, theirs = socket.socketpair()
    with theirs:
        client = DataClient(desk, ours, 0.0)  # type: ignore[arg-type]
        client.send(bytes(4 << 20))
        assert client.outgoing
        theirs.sendall(bytes.fromhex("80010000000a00000181"))
        received = b""
        while len(received) < (4 << 20) + 10:
            assert not (client.outgoing and desk.instance.defects)
            client.ready(0.0)
            with contextlib.suppress(BlockingIOError):
                received += theirs.recv(1 << 20, socket.MSG_DONTWAIT)
        assert received.endswith(bytes.fromhex("80010000000a00000101"))
        client.close()
