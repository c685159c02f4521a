"""The daemon's end of the process with the module."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import cast

import trio

from vtpmd.storage.wipe import wipe

from ..errors import KmsError
from .messages import HEADER, REPLIES, REQUESTS, Reply, Request, body_size, frame

EXIT_TIMEOUT = 1.0  # a process blocked in the kernel, in a driver for example, cannot be killed
_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TZ")


class ProcessEndedError(KmsError):
    """The process ended or closed its socket; the message says how."""


class Process:
    """A newly started process. After an exception of `ask` it can only be ended.

    `environment` is added to the variables of the daemon that it inherits, such as PATH.
    Raises OSError.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        with contextlib.ExitStack() as undo, theirs:
            undo.enter_context(ours)
            # Not by trio, which starts processes in a thread: this one ends with the thread that
            # started it, which must be the main thread. -P: imports ignore the working directory.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vtpmd.kms.pkcs11.child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=inherited | dict(environment),
                start_new_session=True,
            )
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    async def ask(self, request: Request) -> Reply:
        """Send a request and return the reply, whose secrets the caller wipes.

        Raises ProcessEndedError, MalformedMessageError.
        """
        message = frame(REQUESTS.encode(request))
        try:
            await self._stream.send_all(message)
            size = body_size(await self._receive(HEADER.size))
            body = await self._receive(size)
        except trio.BrokenResourceError:
            raise ProcessEndedError(await self._outcome()) from None
        finally:
            wipe(message)
        try:
            return cast(Reply, REPLIES.decode(bytes(body)))
        finally:
            wipe(body)

    async def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)
            await self._exit()
        os.close(self._pidfd)

    async def _receive(self, size: int) -> bytearray:
        received = bytearray()
        while len(received) < size:
            chunk = await self._stream.receive_some(size - len(received))
            if not chunk:
                raise ProcessEndedError(await self._outcome())
            received += chunk
        return received

    async def _outcome(self) -> str:
        await self._exit()
        status = self._process.returncode
        if status is None:
            return "closed its connection"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    async def _exit(self) -> None:
        with trio.move_on_after(EXIT_TIMEOUT, shield=True):
            await trio.lowlevel.wait_readable(self._pidfd)
        self._process.poll()
