"""The process of the keeper: it keeps sleeping TPMs until nobody needs it.

    python -m vtpmd.keeper LISTENER LOCK      the first one
    python -m vtpmd.keeper CHANNEL            one that goes on where another gives way

The descriptors: a listener for daemons, and a lock by which the kernel tells which process is the
keeper; or a channel to the other keeper. It starts a zygote of its own first, and nothing
afterwards.
"""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence

from vtpmd.ipc.channel import Channel
from vtpmd.spawn.process import start_zygote
from vtpmd.spawn.spawner import Spawner, SpawnError

from . import confinement
from .deks import Deks
from .keeper import Keeper
from .succession import succeed


def main(arguments: Sequence[str]) -> int:
    """Run until there is neither a daemon nor a TPM to keep; the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    fds = [int(argument) for argument in arguments]
    for fd in fds:
        os.set_inheritable(fd, False)
    ours, theirs = Channel.pair()
    with theirs:
        zygote = start_zygote(theirs.fileno())
    confinement.confine()
    spawner = Spawner(ours)
    deks = Deks()
    keeper = _first(spawner, deks, *fds) if len(fds) > 1 else _next(spawner, deks, *fds)
    if keeper is not None:
        confinement.seal()
        keeper.run()
    ours.close()
    zygote.wait()
    return 0


def _first(spawner: Spawner, deks: Deks, listening: int, lock: int) -> Keeper:
    fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return Keeper(socket.socket(fileno=listening), lock, spawner, deks)


def _next(spawner: Spawner, deks: Deks, fd: int) -> Keeper | None:
    """One that goes on with what another has; None if that one does not give way."""
    with socket.socket(fileno=fd) as sock:
        try:
            spawner.await_zygote()
        except SpawnError:
            return None
        if (succession := succeed(sock, deks)) is None:
            return None
    keeper = Keeper(succession.listener, succession.lock, spawner, deks)
    keeper.resume(succession)
    return keeper


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
