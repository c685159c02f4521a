"""trio's event and lock for objects there are a thousand of, most of which nobody waits for.

One of trio's costs some 250 octets whether or not it is ever used; these have one only while they
need it.
"""

import trio


class Event:
    """As `trio.Event`."""

    __slots__ = ("_awaited", "_set")

    def __init__(self) -> None:
        self._set = False
        self._awaited: trio.Event | None = None

    def set(self) -> None:
        """Let everybody go on who waits or is going to."""
        self._set = True
        if self._awaited is not None:
            self._awaited.set()
            self._awaited = None

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._set:
            await trio.lowlevel.checkpoint()
            return
        if self._awaited is None:
            self._awaited = trio.Event()
        await self._awaited.wait()


class Lock:
    """As `trio.Lock`."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: trio.Lock | None = None  # None while it is free, as a rule

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held is not None and self._held.locked()

    def acquire_nowait(self) -> None:
        """Take it. Raises trio.WouldBlock if somebody holds it."""
        self._present().acquire_nowait()

    def release(self) -> None:
        """Give it to who waits longest, if anybody does. Raises RuntimeError if it is not ours."""
        held = self._present()
        held.release()
        if not held.locked():
            self._held = None

    async def __aenter__(self) -> None:
        await self._present().acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def _present(self) -> trio.Lock:
        if self._held is None:
            self._held = trio.Lock()
        return self._held
