"""One task that waits for the descriptors of all workers.

A task of trio's for each of them, and trio's own record of a descriptor, are a tenth of what an
instance may cost the supervisor. The kernel is asked by way of an epoll instance of ours, which is
one descriptor for trio. A system task of trio's run has it, begun when it is first needed.
"""

import select
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

Ready = Callable[[], float]
"""Called when there is something to read; for how many seconds it is not to be called again."""


class _Watch:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._paused: dict[int, float] = {}  # until when, on trio's clock

    async def run(self) -> None:
        with self._epoll:
            while True:
                with trio.move_on_at(min(self._paused.values(), default=float("inf"))):
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                for fd, _ in self._epoll.poll(0):
                    self._call(fd)
                now = trio.current_time()
                for fd in [fd for fd, until in self._paused.items() if until <= now]:
                    del self._paused[fd]
                    self._epoll.register(fd, select.EPOLLIN)

    def add(self, fd: int, ready: Ready) -> None:
        if fd in self._ready:
            raise trio.BusyResourceError("somebody listens to this descriptor already")
        self._epoll.register(fd, select.EPOLLIN)
        self._ready[fd] = ready

    def remove(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None and self._paused.pop(fd, None) is None:
            with suppress(OSError):  # closed already, and forgotten by the kernel
                self._epoll.unregister(fd)

    def wake(self, fd: int) -> None:
        if (ready := self._ready.get(fd)) is not None:
            ready()

    def _call(self, fd: int) -> None:
        if (ready := self._ready.get(fd)) is None:
            return  # removed by one that was called just before
        pause = ready()
        if pause and fd in self._ready:
            self._epoll.unregister(fd)  # a peer's end would be told for ever otherwise
            self._paused[fd] = trio.current_time() + pause


_present: Final[trio.lowlevel.RunVar[_Watch | None]] = trio.lowlevel.RunVar("readiness", None)


def listen(fd: int, ready: Ready) -> None:
    """Call `ready` whenever there is something to read, until `ignore`.

    Raises trio.BusyResourceError while somebody does so already.
    """
    if (watch := _present.get()) is None:
        watch = _Watch()
        _present.set(watch)
        trio.lowlevel.spawn_system_task(watch.run)
    watch.add(fd, ready)


def ignore(fd: int) -> None:
    """Listen no longer, if anybody does: at once when the descriptor is closed, if not before."""
    if (watch := _present.get()) is not None:
        watch.remove(fd)


def wake(fd: int) -> None:
    """Let whoever waits for the descriptor go on as if it were readable: it is about to close."""
    if (watch := _present.get()) is not None:
        watch.wake(fd)


async def wait_readable(fd: int) -> None:
    """Wait until there is something to read. Raises as `listen`."""
    listen(fd, partial(_go_on, fd, trio.lowlevel.current_task()))
    await trio.lowlevel.wait_task_rescheduled(partial(_give_up, fd))


def _go_on(fd: int, task: trio.lowlevel.Task) -> float:
    ignore(fd)
    trio.lowlevel.reschedule(task)
    return 0.0


def _give_up(fd: int, _: object) -> trio.lowlevel.Abort:
    ignore(fd)
    return trio.lowlevel.Abort.SUCCEEDED
