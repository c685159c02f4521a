"""`python -m vtpmd.keeper LISTENER LOCK`: keep sleeping TPMs until nobody needs it.

The descriptors: a listener for daemons, and a lock by which the kernel tells which process is the
keeper. It starts a zygote of its own first, and nothing afterwards.
"""

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Sequence

from vtpmd.ipc.channel import Channel
from vtpmd.spawn.process import start_zygote
from vtpmd.spawn.spawner import Spawner

from . import confinement
from .keeper import Keeper


def main(arguments: Sequence[str]) -> int:
    """Run until there is neither a daemon nor a TPM to keep; the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    listening, lock = map(int, arguments)
    for fd in (listening, lock):
        os.set_inheritable(fd, False)
    fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    ours, theirs = Channel.pair()
    with theirs:
        zygote = start_zygote(theirs.fileno())
    confinement.confine()
    Keeper(socket.socket(fileno=listening), Spawner(ours)).run()
    ours.close()
    zygote.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
