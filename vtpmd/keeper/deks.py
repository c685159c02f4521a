"""The DEKs of TPMs that sleep: where they lie while nobody needs them.

In secret memory where the kernel has it, so that no defect of the kernel's that lets somebody read
its memory shows them; otherwise only kept from being swapped out. A message with a DEK that is read
or sent is where Python puts it, and stays there until that memory is used again.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from vtpmd.ipc.messages import GiveBack
from vtpmd.linux.locked import lock
from vtpmd.linux.secret_memory import SecretMemory

_DEK: Final = 32
_PLACES: Final = 8192  # more than descriptors suffice for
_FEWER: Final = 512  # where RLIMIT_MEMLOCK is that of old


class Deks:
    """Made before the process can make no file any more."""

    def __init__(self) -> None:
        self._memory = _secret_memory()

    def guard(self, order: GiveBack) -> int | None:
        """Put the key of an order away: its place, None if it stays in the order."""
        dek = order.order.key.dek
        place = None if self._memory is None else self._memory.put(dek)
        if place is None:
            with suppress(OSError):
                lock(dek)
        return place

    @contextmanager
    def in_place(self, order: GiveBack, place: int | None) -> Iterator[GiveBack]:
        """The order with its key, as `guard` put it away."""
        if place is None or self._memory is None:
            yield order
            return
        self._memory.copy(place, order.order.key.dek)
        try:
            yield order
        finally:
            wipe(order)

    def forget(self, order: GiveBack, place: int | None) -> None:
        """Wipe it."""
        wipe(order)
        if place is not None and self._memory is not None:
            self._memory.free(place)


def _secret_memory() -> SecretMemory | None:
    for places in (_PLACES, _FEWER):
        with suppress(OSError):
            return SecretMemory(places, _DEK)
    return None


def wipe(order: GiveBack) -> None:
    """Overwrite the key in an order."""
    dek = order.order.key.dek
    dek[:] = bytes(len(dek))
