"""Providers and clients that end with the test that opened them."""

from typing import Protocol

import trio


class Closable(Protocol):
    """What keeps connections open."""

    async def aclose(self) -> None: ...


def close_at_the_end(opened: Closable) -> None:
    """Have it closed when the test is over; to be called from within trio."""
    trio.lowlevel.spawn_system_task(_close, opened)


async def _close(opened: Closable) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await opened.aclose()
