"""The loop: who is called back, and when its parts are looked after."""

import itertools
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from vtpmd.worker.loop import Loop


class Counter:
    """A part that ends the loop in its `last` round."""

    def __init__(self, loop: Loop, last: int) -> None:
        self.deadline: float | None = None
        self.rounds = 0
        self._loop = loop
        self._last = last

    def tick(self, now: float) -> None:
        self.rounds += 1
        if self.rounds == self._last:
            self._loop.end()


class Source:
    """A socket with some octets to read, one for each callback; `answers` are what those return."""

    def __init__(self, loop: Loop, answers: list[bool | None]) -> None:
        self.socket, self._theirs = socket.socketpair()
        self._theirs.send(bytes(len(answers)))
        self.left = list(answers)
        loop.watch(self.socket, selectors.EVENT_READ, self._ready)

    def _ready(self) -> bool | None:
        self.socket.recv(1)
        return self.left.pop(0)

    def close(self) -> None:
        self.socket.close()
        self._theirs.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGUSR1)
    yield Loop()
    signal.signal(signal.SIGUSR1, before)


def test_parts_are_looked_after_when_something_may_have_changed(loop: Loop) -> None:
    part, source = Counter(loop, 3), Source(loop, [True, True, False, True, None])
    loop.run([part], [])
    assert not source.left
    assert part.rounds == 3  # at first, after False, after None
    source.close()


def test_parts_are_looked_after_when_one_asks_for_it(loop: Loop) -> None:
    part, source = Counter(loop, 2), Source(loop, [True])
    ours, theirs = os.pipe()
    os.write(theirs, b"\0")

    def ready() -> bool:
        loop.attend()
        return bool(os.read(ours, 1))

    loop.watch(ours, selectors.EVENT_READ, ready)
    loop.run([part], [])
    assert part.rounds == 2
    loop.forget(ours)  # allowed afterwards, too
    source.close()
    os.close(ours)
    os.close(theirs)


def test_a_deadline_to_come_does_not_change_that(loop: Loop) -> None:
    part, source = Counter(loop, 2), Source(loop, [True, True, False])
    part.deadline = time.monotonic() + 3600
    loop.run([part], [])
    assert not source.left
    source.close()


def test_a_deadline_passes_amid_callbacks_that_change_nothing(loop: Loop) -> None:
    part = Counter(loop, 2)
    part.deadline = time.monotonic() + 0.05
    ours, theirs = socket.socketpair()
    theirs.send(b"\0")
    called = itertools.count()
    loop.watch(ours, selectors.EVENT_READ, lambda: next(called) >= 0)  # it stays ready
    loop.run([part], [])
    assert time.monotonic() >= part.deadline
    assert next(called) > 1
    for sock in (ours, theirs):
        sock.close()


def test_a_deadline_that_has_passed_needs_no_event(loop: Loop) -> None:
    part = Counter(loop, 2)
    part.deadline = 0.0
    loop.run([part], [])
    assert part.rounds == 2


def test_a_signal_asks_for_the_end(loop: Loop) -> None:
    class Ending(Counter):
        def tick(self, now: float) -> None:
            if loop.ending:
                loop.end()
            elif not self.rounds:
                self.rounds += 1
                os.kill(os.getpid(), signal.SIGUSR1)

    loop.run([Ending(loop, 2)], [signal.SIGUSR1])
    assert loop.ending


def test_a_callback_can_forget_what_is_ready_too(loop: Loop) -> None:
    part = Counter(loop, 2)
    pairs = [socket.socketpair() for _ in range(2)]
    called = []

    def ready(which: int) -> None:
        called.append(which)
        for ours, _ in pairs:
            loop.forget(ours)

    for which, (ours, theirs) in enumerate(pairs):
        theirs.send(b"\0")
        loop.watch(ours, selectors.EVENT_READ, lambda which=which: ready(which))  # type: ignore[misc]
    loop.run([part], [])
    assert len(called) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_what_was_forgotten_is_not_told_although_its_file_is_open_elsewhere(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    elsewhere = ours.dup()
    theirs.send(b"\0")
    loop.watch(ours, selectors.EVENT_READ, lambda: None)
    loop.forget(ours)
    ours.close()
    part, source = Counter(loop, 2), Source(loop, [True, False])  # at the same number
    loop.run([part], [])
    assert not source.left
    for sock in (elsewhere, theirs):
        sock.close()
    source.close()


def test_what_is_waited_for_can_change(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    seen = []

    def readable() -> None:
        seen.append("read")
        loop.watch(ours, selectors.EVENT_WRITE, writable)

    def writable() -> None:
        seen.append("write")
        loop.watch(ours, 0, writable)

    theirs.send(b"\0")
    loop.watch(ours, selectors.EVENT_READ, readable)
    loop.run([Counter(loop, 3)], [])
    assert seen == ["read", "write"]
    assert select.select([ours], [], [], 0)[0]
    for sock in (ours, theirs):
        sock.close()
