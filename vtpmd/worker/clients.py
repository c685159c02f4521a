"""The two kinds of client: control connections and data connections."""

import os
import socket
import stat
from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

from vtpmd.swtpm.control import ControlChannel, ControlError, refuse
from vtpmd.swtpm.data import DataParser, DataRequest, settle
from vtpmd.swtpm.parser import Request, RequestParser
from vtpmd.swtpm.table import SHAPES, Command, Result, Turn
from vtpmd.tpm.engine import RC, refusal

from .connection import Connection, close_fds
from .instance import Instance

HALF_MESSAGE_SECONDS = 0.5

R = TypeVar("R")


class Desk(Protocol):
    """What clients ask of the loop."""

    instance: Instance
    set_locality: bool
    disconnect: bool

    def free_for(self, turn: Turn) -> bool: ...
    def run_long(self, client: "DataClient", request: DataRequest) -> None: ...
    def attach(self, client: "ControlClient", data: socket.socket) -> None: ...
    def shut_down(self, client: "ControlClient") -> None: ...


class Client(Connection[R], Generic[R]):
    """Parses, keeps requests in order, and answers each as soon as its turn has come."""

    def __init__(self, desk: Desk, sock: socket.socket, heard: float) -> None:
        super().__init__(sock, heard)
        self._desk = desk

    def ready(self, now: float) -> None:
        """The socket is ready for what ``events`` asked for."""
        if self.outgoing:
            self.flush()
        else:
            self._read(now)
        self.pump()

    def pump(self) -> None:
        """Answer what may be answered now."""
        while self.pending and not self.outgoing and not self.closed:
            if not self._desk.free_for(self.turn(self.pending[0])):
                return
            request = self.pending.popleft()
            try:
                self.handle(request)
            except Exception as error:  # ours alone to answer for: no input may end the worker
                self._desk.instance.note_defect(error)
                self.send(self.failure(request))
        if self.closing and not self.outgoing:
            self.close()

    def expire(self, now: float) -> None:
        """The deadline has passed; a client that waits for us does not owe us anything.

        Neither does one whose octets are here and unread: a slow disk made us late, not the client.
        """
        if self.pending or self.outgoing or self.has_sent():
            self.deadline = now + HALF_MESSAGE_SECONDS
            return
        self.deadline = None
        self.give_up()
        self.pump()

    def _read(self, now: float) -> None:
        received = self.receive()
        if received is None:
            return
        data, fds = received
        if not data:
            close_fds(fds)
            self.close()
            return
        self.last_heard = now
        self.parse(data, fds)
        if not self.partial:
            self.deadline = None
        elif self.deadline is None or self.streaming:
            self.deadline = now + HALF_MESSAGE_SECONDS

    @property
    @abstractmethod
    def partial(self) -> bool: ...

    @property
    def streaming(self) -> bool:
        return False

    @abstractmethod
    def parse(self, data: bytes, fds: list[int]) -> None: ...

    @abstractmethod
    def turn(self, request: R) -> Turn: ...

    @abstractmethod
    def handle(self, request: R) -> None: ...

    @abstractmethod
    def failure(self, request: R) -> bytes: ...

    @abstractmethod
    def give_up(self) -> None: ...


class ControlClient(Client[Request]):
    """QEMU's control channel, or a tool's. A half message closes it."""

    MAX_FDS = 4

    def __init__(self, desk: Desk, sock: socket.socket, heard: float) -> None:
        super().__init__(desk, sock, heard)
        self._parser = RequestParser()
        self._channel = ControlChannel(desk.instance, self._attach)
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
        return SHAPES[request.command].turn

    def handle(self, request: Request) -> None:
        response = self._channel.answer(request)
        if response:
            self.send(response)
        if not self.pending and not self._parser.partial:
            self._drop_fds()
        if request.close:
            self.closing = True
        if request.command is Command.SHUTDOWN:
            self._desk.shut_down(self)

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
            self._desk.attach(self, data)
        except ControlError:
            data.close()
            raise

    def _drop_fds(self) -> None:
        close_fds(self._fds)
        self._fds = []


class DataClient(Client[DataRequest]):
    """TPM commands: QEMU's data descriptor, or a connection of the data listener.

    An incomplete command is refused and forgotten, but the connection stays: QEMU has no other.
    """

    def __init__(self, desk: Desk, sock: socket.socket, heard: float) -> None:
        super().__init__(desk, sock, heard)
        self._parser = DataParser()

    @property
    def partial(self) -> bool:
        return self._parser.partial

    def parse(self, data: bytes, fds: list[int]) -> None:
        self.pending.extend(self._parser.feed(data, self._desk.instance.buffer_size))

    def turn(self, request: DataRequest) -> Turn:
        return Turn.AFTER

    def handle(self, request: DataRequest) -> None:
        instance = self._desk.instance
        settled = settle(
            request,
            running=instance.running,
            set_locality=self._desk.set_locality,
            max_locality=instance.max_locality,
        )
        if settled.locality is not None:
            instance.locality = settled.locality
        response = settled.response or instance.prepare()
        if response is not None:
            self.respond(request, response)
        elif instance.is_long(request.command):
            self._desk.run_long(self, request)
        else:
            self.respond(request, instance.settle(instance.run(request.command)))

    def respond(self, request: DataRequest, response: bytes) -> None:
        """Answer a command, also one that has run aside."""
        self.send(request.frame(response))
        self.closing = self.closing or self._desk.disconnect

    def failure(self, request: DataRequest) -> bytes:
        return request.frame(refusal(RC.FAILURE))

    def give_up(self) -> None:
        self.pending.extend(self._parser.expire())
