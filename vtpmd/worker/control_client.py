"""A control connection: QEMU's control channel, or a tool's."""

import os
import socket
import stat
from collections.abc import Callable
from typing import Protocol

from vtpmd.swtpm.control import ControlChannel, refuse
from vtpmd.swtpm.host import ControlError, Host
from vtpmd.swtpm.parser import Request, RequestParser
from vtpmd.swtpm.table import Command, Result, Turn

from .client import Client, Turns
from .connection import close_fds


class Attachment(Protocol):
    """Who learns of SET_DATAFD and SHUTDOWN."""

    def attach(self, client: "ControlClient", data: socket.socket) -> None: ...
    def shut_down(self, client: "ControlClient") -> None: ...


class ControlClient(Client[Request]):
    """A half message closes it."""

    MAX_FDS = 4

    def __init__(
        self,
        sock: socket.socket,
        heard: float,
        turns: Turns,
        note_defect: Callable[[Exception], None],
        host: Host,
        attachment: Attachment,
    ) -> None:
        super().__init__(sock, heard, turns, note_defect)
        self._attachment = attachment
        self._parser = RequestParser()
        self._channel = ControlChannel(host, self._attach)
        self._fds: list[int] = []

    @property
    def partial(self) -> bool:
        return self._parser.partial

    @property
    def streaming(self) -> bool:
        return self._parser.streaming

    def parse(self, data: bytes, fds: list[int]) -> None:
        self._fds += fds
        self.pending.extend(self._parser.feed(data))

    def turn(self, request: Request) -> Turn:
        if request.error is not None or request.command is None:
            return Turn.AT_ONCE
        return request.command.shape.turn

    def handle(self, request: Request) -> None:
        response = self._channel.answer(request)
        if response:
            self.send(response)
        if not self.pending and not self._parser.partial:
            self._drop_fds()
        if request.close:
            self.closing = True
        if request.command is Command.SHUTDOWN:
            self._attachment.shut_down(self)

    def failure(self, request: Request) -> bytes:
        return refuse(request, Result.FAIL)

    def give_up(self) -> None:
        self.close()

    def close(self) -> None:
        self._drop_fds()
        super().close()

    def _attach(self) -> None:
        if not self._fds:
            raise ControlError(Result.IOERROR)
        fd = self._fds.pop(0)
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

    def _drop_fds(self) -> None:
        close_fds(self._fds)
        self._fds = []
