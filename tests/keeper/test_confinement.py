"""The keeper's sandbox from inside: what it can't do any more, and what it still can."""

import fcntl
import mmap
import os
import select
import signal
import socket
from collections.abc import Callable

import pytest

from vtpmd.ipc.channel import Channel
from vtpmd.keeper import confinement, system_calls
from vtpmd.linux.record_locks import lock_holder

FORBIDDEN: dict[str, Callable[[], object]] = {
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "make a file in memory": lambda: os.memfd_create("any"),
    "make a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "make an Internet socket": lambda: socket.socket(socket.AF_INET),
    "make a pair of others": lambda: socket.socketpair(socket.AF_TIPC),
    "start a process": os.fork,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "name a process": lambda: os.pidfd_open(os.getppid()),
    "take a lock": lambda: fcntl.lockf(1, fcntl.LOCK_SH | fcntl.LOCK_NB),
    "run what it wrote": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_EXEC | mmap.PROT_READ),
    "write to a file": lambda: os.pwrite(0, b"any", 0),
}


def _in_child(work: Callable[[], object], wrap: Callable[[], None]) -> str:
    """What a forked child that is confined so has to complain of, if anything."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        complaint = ""
        try:
            wrap()
            work()
        except BaseException as error:
            complaint = f"{type(error).__name__}: {error}"
        os.write(writer, complaint.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        complaint = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0
    return complaint


@pytest.mark.parametrize("act", FORBIDDEN.values(), ids=FORBIDDEN)
def test_it_can_t(act: Callable[[], object]) -> None:
    """Without Landlock and limits, which would refuse some of it, too."""
    assert _in_child(act, system_calls.forbid_others).startswith("PermissionError")


def _close() -> None:
    confinement.confine()
    confinement.seal()


def test_what_it_is_for_it_can() -> None:
    lock = os.memfd_create("lock")
    parent = os.pidfd_open(os.getpid())

    def work() -> None:
        ours, theirs = Channel.pair()
        with ours, theirs:
            epoll = select.epoll()
            epoll.register(theirs, select.EPOLLIN)
            socket.send_fds(ours, [b"any"], [lock])
            assert epoll.poll(1)
            _, fds, _, _ = socket.recv_fds(theirs, 10, 1)
            assert lock_holder(fds[0]) is None
            os.ftruncate(fds[0], 0)
            theirs.shutdown(socket.SHUT_RDWR)
        signal.pidfd_send_signal(parent, 0)

    try:
        assert not _in_child(work, _close)
    finally:
        os.close(lock)
        os.close(parent)
