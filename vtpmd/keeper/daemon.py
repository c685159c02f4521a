"""The keeper's end of its channel to the daemon that has connected last."""

import select
from collections import deque
from collections.abc import Callable, Sequence

from vtpmd.ipc.channel import Channel, ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import Message

from .watching import Watching

_MAX_OUTGOING = 1000  # messages that a daemon has not read, besides two for each TPM
_BROKEN = (ChannelClosedError, IllegalMessageError, OSError)

Descriptors = Callable[[Message], Sequence[int] | None]
"""What a message carries by now; None: it is not true any more, and not sent."""


class Daemon:
    """Whoever serves the admin socket just now, or nobody: then nothing is told."""

    def __init__(
        self, watching: Watching, descriptors: Descriptors, known: Callable[[], int]
    ) -> None:
        self._watching = watching
        self._descriptors = descriptors
        self._known = known  # how many TPMs there are
        self._outgoing: deque[Message] = deque()
        self.channel: Channel | None = None
        self.expected = True
        """Whether there was none yet."""
        self.told = False
        """Whether it knows all that sleeps, and has duplicates of it."""

    def meet(self, channel: Channel, hear: Callable[[], object]) -> None:
        """This one is there from now on."""
        self.part()
        self.channel, self.expected = channel, False
        try:
            self._watching.watch_channel(channel, hear)
        except OSError:
            self.part()

    def part(self) -> None:
        """There is none any more."""
        if self.channel is not None:
            self.channel.close()
        self.channel = None
        self._outgoing.clear()
        self.told = False

    @property
    def reads(self) -> bool:
        """Whether it has taken all that it was told."""
        return not self._outgoing

    def hear(self) -> tuple[Message, list[int]] | None:
        """Its next order, if there is one."""
        if self._outgoing:
            self._flush()
        if self.channel is None:
            return None
        try:
            return self.channel.receive()
        except BlockingIOError:
            return None
        except _BROKEN:
            self.part()
            return None

    def tell(self, message: Message) -> None:
        """Tell it, as soon as it reads.

        One that does not is parted with in the end: it asks for everything when it comes back.
        """
        if self.channel is not None:
            self._outgoing.append(message)
            if len(self._outgoing) > _MAX_OUTGOING + 2 * self._known():
                self.part()
            else:
                self._flush()

    def _flush(self) -> None:
        daemon = self.channel
        assert daemon is not None
        try:
            while self._outgoing:
                fds = self._descriptors(self._outgoing[0])
                if fds is not None:
                    daemon.send(self._outgoing[0], fds)
                self._outgoing.popleft()
            events = select.EPOLLIN
        except BlockingIOError:
            events = select.EPOLLIN | select.EPOLLOUT
        except _BROKEN:
            self.part()
            return
        self._watching.expect(daemon.fileno(), events)
