"""Two acts at the same time, of which both are needed."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

One = TypeVar("One")
Other = TypeVar("Other")


async def together(
    one: Callable[[], Awaitable[One]], other: Callable[[], Awaitable[Other]]
) -> tuple[One, Other]:
    """What both return. What one raises ends the other, and is raised as it is."""
    ones: list[One] = []
    others: list[Other] = []
    errors: list[Exception] = []

    async def attempt(act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except Exception as error:
            errors.append(error)
            nursery.cancel_scope.cancel()

    async def first() -> None:
        ones.append(await one())

    async def second() -> None:
        others.append(await other())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attempt, first)
        nursery.start_soon(attempt, second)
    if errors:
        raise errors[0]
    return ones[0], others[0]
