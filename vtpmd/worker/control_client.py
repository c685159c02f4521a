"""A control connection: QEMU's control channel, or a tool's."""

import os
import socket
import stat
from collections.abc import Callable
from typing import Protocol

from vtpmd.linux.descriptors import close_fds
from vtpmd.swtpm.control import ControlChannel, refuse
from vtpmd.swtpm.host import Connection, ControlError, Host
from vtpmd.swtpm.parser import Request, RequestParser
from vtpmd.swtpm.table import Command, Result, Turn

from .client import Client, Turns
from .drops import ClientDrops
from .observer import Observer
from .old_keys import KeyAwaitedError
from .progress import MAX_REQUEST, Progress


class Attachment(Protocol):
    """Who says what a control client may do, and learns of SET_DATAFD and SHUTDOWN."""

    def permits(self, client: "ControlClient", command: Command) -> bool: ...
    def refused(self, client: "ControlClient", command: Command) -> None: ...
    def attach(self, client: "ControlClient", data: socket.socket) -> None: ...
    def shut_down(self, client: "ControlClient") -> None: ...


class ControlClient(Client[Request]):
    """A half message closes it. At most one descriptor is kept, until its message is answered."""

    MAX_FDS = 1

    def __init__(
        self,
        sock: socket.socket,
        heard: float,
        turns: Turns,
        note_defect: Callable[[Exception], None],
        host: Host,
        attachment: Attachment,
        drops: ClientDrops,
        connection: Connection | None = None,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(sock, heard, self, note_defect)
        self._others = turns
        self._settled: Callable[[], bool] | None = None
        self._attachment = attachment
        self._drops = drops
        self._parser = RequestParser()
        self._channel = ControlChannel(host, self._attach, connection)
        self._fd: int | None = None
        self._observer = observer
        self.progress: Progress | None = None
        """Where its requests are noted, if anybody may go on with this connection after a crash."""

    @property
    def partial(self) -> bool:
        return self._parser.partial

    @property
    def streaming(self) -> bool:
        return self._parser.streaming

    @property
    def busy(self) -> bool:
        return super().busy or self._fd is not None or bool(self._channel.exported)

    @property
    def connection(self) -> Connection:
        return self._channel.connection

    def receive(self) -> tuple[bytes, list[int]] | None:
        if self.progress is not None and not self.step[0]:
            self.progress.request = self._glimpse()
        return super().receive()

    def _glimpse(self) -> bytes:
        try:
            return self.socket.recv(MAX_REQUEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return b""

    def repeat(self, octets: bytes, *, again: bool) -> bool:
        """Answer what a worker had taken that has crashed; False if that is no whole request.

        The TPM is off, so that whatever QEMU asks for when its machine is reset can be done again;
        unless this is `again` the second time, when it is refused.
        """
        requests = self._parser.feed(octets)
        if len(requests) != 1 or self._parser.partial:
            return False
        if again:
            self.fail(requests[0])
        else:
            self.pending.append(requests[0])
            self.pump()
        return True

    def parse(self, data: bytes, fds: list[int]) -> None:
        if self._fd is None and fds:
            self._fd = fds.pop(0)
        close_fds(fds)
        self._drops.descriptors(len(fds) + self.truncated)
        self.pending.extend(self._parser.feed(data))
        if not self.pending:  # as behind a request that QEMU pads
            self.take_nothing()

    def turn(self, request: Request) -> Turn:
        if request.error is not None or request.command is None:
            return Turn.AT_ONCE
        if not self._attachment.permits(self, request.command):
            return Turn.AT_ONCE  # what is refused ends nobody's command
        return request.command.shape.turn

    def free_for(self, turn: Turn) -> bool:
        """Whether a request may be handled now: not while a key is awaited for the one before."""
        if self._settled is not None and not self._settled():
            return False
        return self._others.free_for(turn)

    def handle(self, request: Request) -> None:
        self._settled = None
        command = request.command
        if command is not None and not self._attachment.permits(self, command):
            if request.last:
                self._attachment.refused(self, command)
            self._drop_fd()
            self._answer(request, refuse(request, Result.FAIL))
            return
        try:
            response = self._channel.answer(request)
        except KeyAwaitedError as error:
            self._settled = error.settled
            self.pending.appendleft(request)
            return
        if not self.pending and not self._parser.partial:
            self._drop_fd()
        if command is Command.SHUTDOWN:
            self._attachment.shut_down(self)
        if response:
            self._answer(request, response)
        if request.close:
            self.closing = True

    def fail(self, request: Request) -> None:
        self._answer(request, refuse(request, Result.FAIL))

    def give_up(self) -> None:
        self.close()

    def close(self) -> None:
        self._drop_fd()
        self._channel.close()
        super().close()

    def _answer(self, request: Request, response: bytes) -> None:
        if response and self._observer is not None:
            name = "unknown" if request.command is None else request.command.name
            self._observer.controlled(name, int.from_bytes(response[:4]))
        self.send(response)

    def _attach(self) -> None:
        if self._fd is None:
            raise ControlError(Result.IOERROR)
        fd, self._fd = self._fd, None
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise ControlError(Result.IOERROR)
            data = socket.socket(fileno=fd)
        except BaseException:
            os.close(fd)
            raise
        try:
            self._attachment.attach(self, data)
        except ControlError:
            data.close()
            raise

    def _drop_fd(self) -> None:
        if self._fd is not None:
            self._drops.descriptors(1)
            close_fds([self._fd])
            self._fd = None
