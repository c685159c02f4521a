"""Whoever comes beside the machine that has the TPM gets little of the worker's time."""

import select
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.worker.harness import STARTUP_CLEAR, SUCCESS, Host, Qemu, connect, control, tpm
from vtpmd.swtpm.table import Command
from vtpmd.worker.aside import SHARE, Aside
from vtpmd.worker.loop import Loop

TAKES = 0.002
OTHERS = 8
QUESTION = bytes([0, 0, 0, 1])  # CMD_GET_CAPABILITY


class Crowd:
    """Sockets that stay readable; what they say takes long, and the `last` ends the loop."""

    def __init__(self, loop: Loop, aside: Aside, last: int) -> None:
        self.pairs = [socket.socketpair() for _ in range(4)]
        self.served: list[int] = []
        self._loop, self._last = loop, last
        for number, (ours, theirs) in enumerate(self.pairs):
            theirs.send(b"x")
            aside.watch(ours, selectors.EVENT_READ, lambda number=number: self._serve(number))  # type: ignore[misc]

    def _serve(self, number: int) -> None:
        end = time.monotonic() + TAKES
        while time.monotonic() < end:
            pass
        self.served.append(number)
        if len(self.served) == self._last:
            self._loop.end()

    def close(self) -> None:
        for pair in self.pairs:
            for end in pair:
                end.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGUSR1)
    yield Loop()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("limited", [False, True])
def test_all_are_served_in_turn_and_rest_if_they_must(loop: Loop, limited: bool) -> None:
    aside = Aside(loop)
    aside.limited = limited
    crowd = Crowd(loop, aside, last=8)
    began = time.monotonic()
    loop.run([aside], [])
    took = time.monotonic() - began
    aside.close()
    crowd.close()
    assert sorted(crowd.served) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (took > 7 * SHARE * TAKES) is limited
    assert (aside.deadline is not None) is limited


def test_nobody_else_is_served_between_two_of_them(loop: Loop) -> None:
    """Of all that is ready at once, one of those aside is served in a round of the loop."""
    aside = Aside(loop)
    crowd = Crowd(loop, aside, last=4)
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    seen: list[int] = []
    loop.watch(ours, selectors.EVENT_READ, lambda: seen.append(len(crowd.served)))
    loop.run([aside], [])
    aside.close()
    crowd.close()
    ours.close()
    theirs.close()
    assert set(seen) >= {1, 2, 3}


class Flood:
    """Control clients that ask again and again, and count what they are answered."""

    def __init__(self, path: Path) -> None:
        self.answers = 0
        self._ended = False
        self._clients = [connect(path) for _ in range(OTHERS)]
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        for client in self._clients:
            client.close()

    def _ask(self) -> None:
        for client in self._clients:
            client.sendall(QUESTION)
        while not self._ended:
            for client in select.select(self._clients, [], [], 0.1)[0]:
                assert client.recv(64)[:4] == bytes(4)
                self.answers += 1
                client.sendall(QUESTION)


def _processor_seconds(pid: int) -> float:
    """How long a process has had a processor, as the kernel counts in /proc/PID/schedstat."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def test_others_share_what_the_machine_leaves_and_it_waits_for_nobody(host: Host) -> None:
    worker = host.serve()
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        with Flood(host.control_path) as flood:
            before, began = _processor_seconds(worker.pid), time.monotonic()
            while (took := time.monotonic() - began) < 0.5:
                select.select([], [], [], 0.1)
            assert _processor_seconds(worker.pid) - before < took / 5
            answers = flood.answers
            for _ in range(100):
                assert control(qemu.control, Command.GET_CAPABILITY, length=8)[:4] == bytes(4)
            assert answers > 0
            assert flood.answers - answers < 100
            qemu.data.close()
            answers = flood.answers
            while flood.answers < answers + 100:  # there is nobody any more for whom to wait
                assert control(qemu.control, Command.GET_CAPABILITY, length=8)[:4] == bytes(4)
