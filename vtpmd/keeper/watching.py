"""Which descriptors the keeper waits for, and what it does when one is ready."""

import select
from collections.abc import Callable

from vtpmd.ipc.channel import Channel

Callback = Callable[[], object]

_MAX_AT_ONCE = 64


class Watching:
    """The kernel's list of descriptors, with a callback for each. All may raise OSError."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def wait(self, timeout: float | None) -> None:
        """Wait so many seconds, and call back for what is ready."""
        for fd, _ in self._epoll.poll(timeout, _MAX_AT_ONCE):
            if callback := self._callbacks.get(fd):
                callback()

    def watch(self, fd: int, callback: Callback, events: int = select.EPOLLIN) -> None:
        self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def watch_channel(self, channel: Channel, callback: Callback) -> None:
        """Watch it until it is closed."""
        channel.on_close = lambda closing: self.forget(closing.fileno())
        self.watch(channel.fileno(), callback)

    def call_instead(self, fd: int, callback: Callback) -> None:
        """Call this one from now on."""
        self._callbacks[fd] = callback

    def expect(self, fd: int, events: int) -> None:
        """Wait for these events of a descriptor from now on."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Wait for it no more, if it was waited for."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)
