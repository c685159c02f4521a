"""The process whose instructions are counted: a worker's loop with an engine.

`python -m tests.bench.counted DIRECTORY=FD...` serves the TPM stored in each DIRECTORY on the
listening socket FD, one after the other, every time in a process forked anew that ends with a
client's CMD_SHUTDOWN. Each process id is a line of the output.
"""

import gc
import itertools
import os
import random
import socket
import sys
from pathlib import Path
from unittest.mock import patch

from tests.worker.harness import INSTANCE, files, make_key
from vtpmd.linux.peers import PeerPolicy
from vtpmd.worker import hosting
from vtpmd.worker.options import Ending, Listeners, Options
from vtpmd.worker.sandbox import Sandbox
from vtpmd.worker.supervision import Supervision

_BETWEEN_COMMANDS = 50_000
"""Nanoseconds of the TPM's time, whatever the machine's was."""


class _Open(Sandbox):
    """None: it would hold for the program that counts as well, which has needs of its own."""

    def __init__(self) -> None:
        super().__init__("off")

    def confine(self) -> None:
        """Leave everything allowed."""

    def seal(self) -> None:
        """Leave everything allowed."""


def _serve(directory: Path, listener: socket.socket) -> None:
    listener.setblocking(False)
    sandbox = _Open()
    options = Options(
        uuid=INSTANCE,
        name="counted",
        sandbox=sandbox.active,
        peers=PeerPolicy(anybody=True),
        ending=Ending.ON_SHUTDOWN,
    )
    with files(directory) as state:
        hosting.serve(
            state,
            make_key(),
            sandbox,
            Listeners(control=listener, adoption=None),
            Supervision(None),
            options,
            lambda generation: None,
        )


def main(arguments: list[str]) -> None:
    """Serve one TPM after the other."""
    gc.collect()
    gc.freeze()  # as a zygote does
    for argument in arguments:
        directory, _, descriptor = argument.rpartition("=")
        with socket.socket(fileno=int(descriptor)) as listener:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    _serve(Path(directory), listener)
                    status = 0
                finally:
                    os._exit(status)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        if status:
            sys.exit(f"serving ended with status {status}")


if __name__ == "__main__":
    # Random numbers, and the time that passes on a busy machine, would let the same command take
    # another path each time.
    clock = itertools.count(step=_BETWEEN_COMMANDS)
    with (
        patch("os.urandom", random.Random(0).randbytes),
        patch("time.monotonic_ns", clock.__next__),
    ):
        main(sys.argv[1:])
