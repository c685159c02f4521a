"""Octets of a fuzzer, read as decisions: every input means something, and a longer one more."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Octets:
    """What is left of an input; zeros once it has ended."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def __bool__(self) -> bool:
        return bool(self._rest)

    def take(self, size: int) -> bytes:
        """The next octets, fewer if there are not that many."""
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def number(self, size: int = 1) -> int:
        """The next number."""
        return int.from_bytes(self.take(size))

    def choice(self, options: Sequence[T]) -> T:
        """One of some options."""
        return options[self.number(2) % len(options)]
