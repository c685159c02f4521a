"""The process every worker is forked from: engine imported and warm, no secret, one thread.

`python -m vtpmd.worker.zygote FD [merge]` speaks the zygote channel on the inherited socket FD and
ends when the supervisor does; the workers live on. It reaps its workers and says how one ended when
it is asked; the supervisor watches pidfds. `merge`: the kernel may merge the memory of all of them.

Its standard error is the daemon's only until it is warm: the workers it forks never have it, and
what is worth telling from then on is a message.
"""

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

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Exit, ReadExit, Spawn, Spawned, SpawnFailed, ZygoteReady
from vtpmd.ipc.rules import Side, State
from vtpmd.linux import merging, oom
from vtpmd.linux.descriptors import close_fds
from vtpmd.linux.streams import silence_streams
from vtpmd.tpm.engine import bank_names, compile_ahead, profile_names, state_format

from . import immortal, layout, process, seccomp, serving_lock
from .blanks import Blanks
from .errors import NotSingleThreadedError
from .rehearsal import Rehearsal
from .sandbox import Sandbox

_MAX_EXITS = 1024  # of workers nobody has asked about yet
_OOM_RAISE = 500
"""How much rather the kernel ends a worker than the daemon, in thousandths of all memory."""
EXIT_ILLEGAL_MESSAGE = 3
_MERGE = "merge"
_REHEARSALS = 10
"""How often code has to run until the interpreter changes it no more."""
_QUIET, _LATER = 15, 1000
"""Milliseconds without an order after which a blank is forked, or tried again when that failed: a
start that goes on has the processor for itself, and many at once fork no more than they need."""


def main(arguments: Sequence[str]) -> int:
    """Serve the supervisor at the descriptor named by the first argument; the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = socket.socket(fileno=int(arguments[0]))
    sock.set_inheritable(False)
    with suppress(OSError):  # where /proc is read-only, others judge who has to end
        oom.prefer(_OOM_RAISE)
    if _MERGE in arguments[1:]:
        merging.permit()
    rehearsal = _warm()
    _settle()
    silence_streams()
    channel = Channel(sock, Side.ZYGOTE, State.WARMING)
    try:
        channel.send(_engine())
        channel.meet()  # what is readable from now on is an order
    except ChannelClosedError:
        return 0
    except IllegalMessageError:
        return EXIT_ILLEGAL_MESSAGE
    wake, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writer)
    exits: OrderedDict[int, Exit] = OrderedDict()
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    poller.register(wake, select.POLLIN)
    blanks, quiet = Blanks(rehearsal.run, _work), _QUIET
    while True:
        events = poller.poll(quiet if blanks.short else None)
        if not events:
            quiet = _QUIET if _added(blanks) else _LATER
        for fd, _ in events:
            try:
                if fd == wake:
                    os.read(wake, 512)
                    lost = _reap(blanks, exits)
                else:
                    lost = _answer(channel, blanks, exits)
            except ChannelClosedError:
                return 0
            except IllegalMessageError:
                return EXIT_ILLEGAL_MESSAGE
            if lost:  # what ends a blank may end the next one, too
                quiet = _LATER


def _added(blanks: Blanks) -> bool:
    try:
        blanks.add()
    except OSError:
        return False
    return True


def _engine() -> ZygoteReady:
    state = state_format()
    return ZygoteReady(profile_names(), bank_names(), state.version, state.fields, state.retired)


def _warm() -> Rehearsal:
    """Have all done that is done once, so that every worker shares it."""
    compile_ahead()
    rehearsal = Rehearsal()
    with suppress(OSError):  # a worker tells what is missing, as its sandbox's mode demands
        seccomp.prepare(removing=False)
    rehearsal.run()
    layout.gather(layout.scouted(lambda: rehearsal.run(Sandbox("best-effort"))))
    for _ in range(_REHEARSALS):
        rehearsal.run()
    return rehearsal


def _settle() -> None:
    """Make what is loaded cheap to share: no garbage, and nothing the collector will write to."""
    layout.fill_gaps()
    if immortal.supported():
        immortal.immortalise()
    gc.freeze()
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise NotSingleThreadedError


def _answer(channel: Channel, blanks: Blanks, exits: OrderedDict[int, Exit]) -> bool:
    """Carry out an order; whether a blank was seen to have ended meanwhile."""
    message, fds = channel.receive()
    lost = False
    match message:
        case Spawn():
            _spawn(channel, blanks, fds)
        case ReadExit():
            lost = _reap(blanks, exits)  # who asks has seen the worker end, perhaps before us
            channel.send(exits.pop(message.pid, Exit(message.pid)))
    return lost


def _spawn(channel: Channel, blanks: Blanks, fds: list[int]) -> None:
    try:
        pid = blanks.employ(fds)
        pidfd = os.pidfd_open(pid)  # where that fails the worker ends: nobody has its channel
    except OSError as error:
        channel.send(SpawnFailed(f"fork: {error.strerror or error}"))
        return
    finally:
        close_fds(fds)
    try:
        channel.send(Spawned(pid), [pidfd])
    finally:
        os.close(pidfd)


def _work(fds: list[int]) -> int:
    """In a blank that has become a worker: take the serving lock, if there is one, and begin."""
    channel, *locks = fds
    for lock in locks:
        serving_lock.hold(lock)
    return process.run(socket.socket(fileno=channel))


def _reap(blanks: Blanks, exits: OrderedDict[int, Exit]) -> bool:
    """Take the status of workers that have ended, and keep it for the supervisor's question.

    Returns whether a blank was among them.
    """
    lost = False
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return lost
        if pid == 0:
            return lost
        lost |= blanks.forget(pid)
        exits[pid] = _exit_of(pid, status)
        if len(exits) > _MAX_EXITS:
            exits.popitem(last=False)


def _exit_of(pid: int, status: int) -> Exit:
    if os.WIFSIGNALED(status):
        return Exit(pid, "killed", os.WTERMSIG(status))
    return Exit(pid, "exited", os.WEXITSTATUS(status))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
