"""The process every worker is forked from: engine imported and warm, no secret, one thread.

`python -m vtpmd.worker.zygote FD` speaks the zygote channel on the inherited socket FD and ends
when the supervisor does; the workers live on. It reaps its workers and says how one ended when it
is asked; the supervisor watches pidfds.

Its standard error is the daemon's only until it is warm: the workers it forks never have it, and
what is worth telling from then on is a message.
"""

import fcntl
import gc
import os
import select
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Exit, ReadExit, Spawn, Spawned, SpawnFailed, ZygoteReady
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import oom
from vtpmd.linux.streams import silence_streams
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Header, parse, seal
from vtpmd.storage.slot import Slot
from vtpmd.tpm.engine import Engine, bank_names, profile_names

from . import process, seccomp
from .connection import close_fds
from .errors import EXIT_FAILED, NotSingleThreadedError
from .sources import entropy, now

_CHANNEL, _LOCK = 3, 4
_MAX_EXITS = 1024  # of workers nobody has asked about yet
_OOM_RAISE = 500
"""How much rather the kernel ends a worker than the daemon, in thousandths of all memory."""
EXIT_ILLEGAL_MESSAGE = 3
_PROFILE, _BANKS = "default-v1", ("sha256",)


def main(arguments: Sequence[str]) -> int:
    """Serve the supervisor at the descriptor named by the only argument; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=int(arguments[0]))
    sock.set_inheritable(False)
    with suppress(OSError):  # where /proc is read-only, others judge who has to end
        oom.prefer(_OOM_RAISE)
    _warm()
    _settle()
    silence_streams()
    channel = Channel(sock, Side.ZYGOTE, State.WARMING)
    try:
        channel.send(ZygoteReady(profile_names(), bank_names()))
    except ChannelClosedError:
        return 0
    wake, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    exits: OrderedDict[int, Exit] = OrderedDict()
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    poller.register(wake, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == wake:
                os.read(wake, 512)
                _reap(exits)
                continue
            try:
                _answer(channel, exits)
            except ChannelClosedError:
                return 0
            except IllegalMessageError:
                return EXIT_ILLEGAL_MESSAGE


def _warm() -> None:
    """Live a short TPM's life, so that what is worked out on first use is shared, too.

    This TPM has seeds of its own and is forgotten; nobody's secret is here.
    """
    engine = Engine.manufacture(_PROFILE, _BANKS, entropy, now)
    engine = Engine.restore(engine.permanent(), entropy, now)
    engine.power_on()
    engine.warm_up()
    engine.power_on(engine.volatile())
    dek = bytearray(entropy(DEK_SIZE))
    header = Header(UUID(int=0), 1, "permanent", bytes(DEK_ID_SIZE))
    slot = Slot("none", "none", "none", "", "none", b"none", 0)
    parse(seal(dek, header, [slot], engine.permanent())).unseal(dek, header.uuid)
    with suppress(OSError):  # a worker tells what is missing, as its sandbox's mode demands
        seccomp.prepare(removing=False)


def _settle() -> None:
    """Make what is loaded cheap to share: no garbage, and nothing the collector will write to."""
    gc.collect()
    gc.freeze()
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise NotSingleThreadedError


def _answer(channel: Channel, exits: OrderedDict[int, Exit]) -> None:
    message, fds = channel.receive()
    match message:
        case Spawn():
            _spawn(channel, fds)
        case ReadExit():
            _reap(exits)  # who asks has seen the worker end, perhaps before us
            channel.send(exits.pop(message.pid, Exit(message.pid)))


def _spawn(channel: Channel, fds: list[int]) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        close_fds(fds)
        channel.send(SpawnFailed(f"fork: {error.strerror}"))
        return
    if pid == 0:
        _become_worker(*fds)
    close_fds(fds)
    pidfd = os.pidfd_open(pid)
    try:
        channel.send(Spawned(pid), [pidfd])
    finally:
        os.close(pidfd)


def _become_worker(worker_fd: int, lock_fd: int | None = None) -> None:
    """In the child: keep the null device, the channel and the lock, if there is one.

    Never returns.
    """
    status = EXIT_FAILED
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()  # a Ctrl-C at the supervisor's terminal is not for us
        os.dup2(worker_fd, _CHANNEL, inheritable=False)
        if lock_fd is not None:
            os.dup2(lock_fd, _LOCK, inheritable=False)
        os.closerange(_CHANNEL + 1 if lock_fd is None else _LOCK + 1, os.sysconf("SC_OPEN_MAX"))
        if lock_fd is not None:
            # This process's own until it ends: closing any descriptor of the file would give it up.
            fcntl.lockf(_LOCK, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = process.run(socket.socket(fileno=_CHANNEL))
    finally:
        os._exit(status)


def _reap(exits: OrderedDict[int, Exit]) -> None:
    """Take the status of workers that have ended, and keep it for the supervisor's question."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        exits[pid] = _exit_of(pid, status)
        if len(exits) > _MAX_EXITS:
            exits.popitem(last=False)


def _exit_of(pid: int, status: int) -> Exit:
    if os.WIFSIGNALED(status):
        return Exit(pid, "killed", os.WTERMSIG(status))
    return Exit(pid, "exited", os.WEXITSTATUS(status))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
