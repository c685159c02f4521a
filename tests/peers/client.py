"""The control and the data channel as QEMU uses them."""

import contextlib
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

CMD_INIT = 2
CMD_SHUTDOWN = 3
CMD_SET_LOCALITY = 5
CMD_HASH_START = 6
CMD_HASH_DATA = 7
CMD_HASH_END = 8
CMD_GET_STATEBLOB = 12
CMD_SET_STATEBLOB = 13
CMD_STOP = 14
CMD_SET_DATAFD = 16
CMD_SET_BUFFERSIZE = 17
STARTUP_CLEAR = bytes.fromhex("80010000000c000001440000")
PERMANENT, VOLATILE, SAVESTATE = 1, 2, 3
"""Types of state blobs."""
SHUTDOWN_CLEAR = bytes.fromhex("80010000000c000001450000")


class PeerError(Exception):
    """The TPM emulator did not do what was asked."""


class Control:
    """A connection to a control socket."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(path))  # with a timeout, a full backlog would be an error
            self._socket.settimeout(timeout)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def command(self, code: int, body: bytes = b"", descriptors: tuple[int, ...] = ()) -> bytes:
        """The body of the answer to one control command; PeerError when the result is not 0."""
        socket.send_fds(self._socket, [struct.pack(">I", code) + body], descriptors)
        answer = self._socket.recv(65536)
        if answer[:4] != bytes(4):
            raise PeerError(f"control command {code}: {answer.hex() or 'connection closed'}")
        return answer[4:]

    def power_on(self) -> None:
        """_TPM_Init, after a machine's reset or start."""
        self.command(CMD_STOP)
        self.command(CMD_INIT, bytes(4))

    def read_state(self) -> dict[int, bytes]:
        """The state as QEMU reads it for a migration or a snapshot: whoever gets it goes on."""
        blobs = {kind: self._read_blob(kind) for kind in (PERMANENT, VOLATILE)}
        with contextlib.suppress(PeerError):  # there is none, but that it was asked for counts
            self._read_blob(SAVESTATE)
        return blobs

    def write_state(self, blobs: Mapping[int, bytes]) -> None:
        """Bring state to a TPM that is off; CMD_INIT goes on with it."""
        for kind, blob in blobs.items():
            self.command(CMD_SET_STATEBLOB, struct.pack(">III", 2, kind, len(blob)) + blob)

    def _read_blob(self, kind: int) -> bytes:
        answer = self.command(CMD_GET_STATEBLOB, struct.pack(">III", 1, kind, 0))
        _, total, _ = struct.unpack_from(">III", answer)
        blob = answer[12:]
        while len(blob) < total:
            more = self._socket.recv(total - len(blob))
            if not more:
                raise PeerError("the control channel was closed")
            blob += more
        return blob

    def cut(self) -> None:
        """End the connection as its process' death would, perhaps while another thread waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def data_channel(self) -> "Data":
        """A data channel that lives as long as the TPM's side keeps it: CMD_SET_DATAFD."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self.command(CMD_SET_DATAFD, descriptors=(theirs.fileno(),))
            except BaseException:
                ours.close()
                raise
        ours.settimeout(self._socket.gettimeout())
        return Data(ours)


class Data:
    """A data channel; commands are framed by their own size field."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def close(self) -> None:
        self._socket.close()

    def cut(self) -> None:
        """As `Control.cut`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def execute(self, command: bytes) -> bytes:
        """The response to one TPM command, whatever its response code."""
        self.send(command)
        return self.receive()

    def fileno(self) -> int:
        """For select: readable when a response is there."""
        return self._socket.fileno()

    def send(self, command: bytes) -> None:
        """Send a command whose response is to be received later."""
        self._socket.sendall(command)

    def receive(self) -> bytes:
        """The next response."""
        response = self._socket.recv(65536)
        while len(response) < 10 or len(response) < int.from_bytes(response[2:6], "big"):
            more = self._socket.recv(65536)
            if not more:
                raise PeerError("the data channel was closed")
            response += more
        return response


class DataSocket:
    """A data socket that, like tpm2-tss, is connected to anew for each command."""

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._path, self._timeout = path, timeout

    def execute(self, command: bytes) -> bytes:
        """The response to one TPM command, whatever its response code."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._timeout)
            connection.connect(str(self._path))
            return Data(connection).execute(command)
