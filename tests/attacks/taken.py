"""Workers that were taken over: Python text is executed inside the sealed process."""

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.attacks.takeover.sitecustomize import COMMAND
from tests.bench.encoding import RefusedError, command, response
from tests.faults.machine import Machine
from tests.peers.client import Data, PeerError
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

TAKEOVER = Path(__file__).with_name("takeover")
LONGEST, PART = 4096, 1900
DEADLINE = 20.0


CHANNEL = """
m = sys.modules['vtpmd.ipc.messages']
encode = sys.modules['vtpmd.ipc.rules'].CODEC.encode
for number in range(64):
    try:
        kind = stat.S_IFMT(os.fstat(number).st_mode)
    except OSError:
        continue
    if kind == stat.S_IFSOCK:
        found = socket.socket(fileno=os.dup(number))
        if found.type == socket.SOCK_SEQPACKET and not found.getsockname():
            channel = found
            break
"""
"""Text that finds the supervisor's `channel`, and `encode` of messages, which are in `m`.

The one to the keeper comes later, so its number is higher.
"""


class TakenOver:
    """The worker at the other end of a machine's data channel: the machine has found a hole."""

    def __init__(self, data: Data) -> None:
        self._data = data

    def run(self, text: str) -> str:
        """Execute statements; what they assign to `answer`, or the name of the error they got.

        Raises PeerError if they have ended the worker, also where the next one says so.
        """
        message = command(COMMAND, (), text.encode())
        assert len(message) <= LONGEST
        self._data.send(message)
        assert select.select([self._data], [], [], DEADLINE)[0], "it neither answers nor ends"
        try:
            return response(self._data.receive()).parameters.decode()
        except RefusedError as error:
            raise PeerError(f"the worker has ended: {error}") from None

    def put(self, name: str, octets: bytes) -> None:
        """Assign octets to a variable, however many."""
        self.run(f"{name} = bytearray()")
        for at in range(0, len(octets), PART):
            self.run(f"{name} += bytes.fromhex('{octets[at : at + PART].hex()}')")


@contextmanager
def taken_over(instance: VtpmdInstance) -> Iterator[TakenOver]:
    """Take the worker of an instance over, as its machine."""
    with Machine(instance) as machine:
        yield TakenOver(machine.data)


def daemon_with_hole(directory: Path, more: str = "") -> Vtpmd:
    """A daemon whose workers can be taken over; they are in the whole sandbox."""
    path = os.pathsep.join(filter(None, [str(TAKEOVER), os.environ.get("PYTHONPATH", "")]))
    return Vtpmd(directory, sandbox="require", environment={"PYTHONPATH": path}, more=more)
