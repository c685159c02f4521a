"""The whole short life of a TPM that nobody keeps, so that all first times are over afterwards.

In the zygote: what is worked out on first use is there for every worker. In a blank worker: it has
the pages of its own that it is going to write to. The TPM has seeds of its own, its state is in
memory, and nobody's secret is here.
"""

import os
import socket
from uuid import UUID

from vtpmd.linux.peers import PeerPolicy
from vtpmd.storage.envelope import DEK_ID_SIZE, DEK_SIZE, Header, seal
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_files import state_files_in_memory
from vtpmd.tpm.engine import Engine, Reply

from . import hosting
from .options import Ending, Listeners, Options
from .side import SideThread
from .sources import entropy, now
from .supervision import Supervision

_PROFILE, _BANKS = "default-v1", ("sha256",)
_UUID = UUID(int=0)
_SLOT = Slot("none", "none", "none", "", "none", b"none", 0)
_OPTIONS = Options(
    _UUID, "", {}, PeerPolicy(), startup="clear", ending=Ending.ON_DATA_CLOSED, signals=()
)
_GET_RANDOM = bytes.fromhex("80010000000c0000017b0010")


class Rehearsal:
    """A TPM, which `run` lets live again and again."""

    def __init__(self) -> None:
        self._key = Key(bytearray(entropy(DEK_SIZE)), bytes(DEK_ID_SIZE), (_SLOT,))
        header = Header(_UUID, 1, "permanent", self._key.dek_id)
        engine = Engine.manufacture(_PROFILE, _BANKS, entropy, now)
        self._nvram = seal(self._key.dek, header, self._key.slots, engine.permanent())

    def run(self) -> bytes:
        """Restore it, power it on, answer one command of a client, switch it off; the answer."""
        files = state_files_in_memory(_UUID, self._nvram)
        side: SideThread[Reply] = SideThread()  # never started: a process that forks has one thread
        client, ours = socket.socketpair()
        try:
            with client:
                client.sendall(_GET_RANDOM)
                client.shutdown(socket.SHUT_WR)
                listeners = Listeners(None, None, data_client=ours)
                server = hosting.prepare(
                    files, self._key, side, listeners, Supervision(None), _OPTIONS
                )
                server.run()
                return client.recv(64)
        finally:
            side.close()
            for fd in files:
                os.close(fd)
