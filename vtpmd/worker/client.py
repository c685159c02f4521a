"""What control and data connections have in common: requests in order, answered in turn."""

import socket
from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from vtpmd.linux.descriptors import close_fds
from vtpmd.swtpm.table import Turn

from .connection import Connection

HALF_MESSAGE_SECONDS = 0.5

R = TypeVar("R")


class Turns(Protocol):
    """Says when a request may be handled."""

    def free_for(self, turn: Turn) -> bool: ...


class Client(Connection[R], Generic[R]):
    """Parses, keeps requests in order, and answers each as soon as its turn has come."""

    def __init__(
        self,
        sock: socket.socket,
        heard: float,
        turns: Turns,
        note_defect: Callable[[Exception], None],
    ) -> None:
        super().__init__(sock, heard)
        self._turns = turns
        self._note_defect = note_defect

    def ready(self, now: float) -> bool:
        """The socket is ready for what `events` asked for.

        Returns True if it waits for a request now as it did before, and for nothing else.
        """
        if self.outgoing:
            self.flush()
        else:
            received = self.receive()
            if received is not None:
                self.hear(*received, now)
        self.pump()
        return False

    def pump(self) -> None:
        """Answer what may be answered now."""
        while self.pending and not self.outgoing and not self.closed:
            if not self._turns.free_for(self.turn(self.pending[0])):
                return
            self.attempt(self.pending.popleft())
        if self.closing and not self.outgoing:
            self.close()

    def attempt(self, request: R) -> None:
        """Handle a request whose turn it is."""
        try:
            self.handle(request)
        except Exception as error:  # ours alone to answer for: no input may end the worker
            self._note_defect(error)
            self.fail(request)

    def expire(self, now: float) -> None:
        """Give up an incomplete request whose deadline has passed, unless the client waits for us.

        Octets that have arrived but are unread give it more time: we are late, not the client.
        """
        if self.pending or self.outgoing or self.has_sent():
            self.deadline = now + HALF_MESSAGE_SECONDS
            return
        self.deadline = None
        self.give_up()
        self.pump()

    def hear(self, data: bytes, fds: list[int], now: float) -> None:
        """Take what was received; no octets are the end."""
        if not data:
            close_fds(fds)
            self.close()
            return
        self.last_heard = now
        self.parse(data, fds)
        if self.partial:
            self.take_a_part()
        if not self.partial:
            self.deadline = None
        elif self.deadline is None or self.streaming:
            self.deadline = now + HALF_MESSAGE_SECONDS

    @property
    def busy(self) -> bool:
        """Whether it is in the middle of something that only this process knows of."""
        return bool(self.pending or self.outgoing or self.partial or self.closing)

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
    def fail(self, request: R) -> None: ...

    @abstractmethod
    def give_up(self) -> None: ...
