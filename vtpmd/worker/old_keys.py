"""Keys of state blobs that were sealed before a rekey: from the supervisor, to open a blob with."""

import time
from collections.abc import Callable, Hashable

from vtpmd.ipc.codec import MAX_MESSAGE
from vtpmd.ipc.messages import NotUnwrapped, UnwrapKey, Unwrapped
from vtpmd.ipc.rules import CODEC
from vtpmd.storage.envelope import DEK_SIZE, Envelope
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.wipe import wipe

DEADLINE = 10.0
"""Seconds within which the supervisor answers."""


class KeyAwaitedError(Exception):
    """The key was asked for: the same once more when `settled` says so."""

    def __init__(self, settled: Callable[[], bool]) -> None:
        super().__init__()
        self.settled = settled


class OldKeys:
    """Asks for one key at a time. `ask` sends a message and says whether somebody hears it.

    A key is of use to the connection that has asked for it, and forgotten with what that brought.
    """

    def __init__(self) -> None:
        self.ask: Callable[[UnwrapKey], bool] = lambda request: False
        self.deadline: float | None = None
        """When `expire` gives up (monotonic seconds); None while nothing is asked for."""
        self._asked: tuple[Hashable, bytes] | None = None
        self._keys: dict[tuple[Hashable, bytes], bytearray | None] = {}

    def of(self, connection: Hashable, envelope: Envelope) -> bytearray:
        """The DEK of an envelope of our own instance, for the connection that has brought it.

        Raises KeyAwaitedError; EnvelopeError `wrong-key` if it can't be had.
        """
        dek_id = envelope.header.dek_id
        wanted = connection, dek_id
        if wanted not in self._keys:
            if self._asked is None:
                slots = tuple(slot.encode() for slot in envelope.slots)
                self._begin(connection, UnwrapKey(dek_id, slots))
            if self._asked is not None:
                raise KeyAwaitedError(lambda: self._asked is None)
        if (dek := self._keys.get(wanted)) is None:
            raise EnvelopeError(
                "wrong-key",
                f"the state blob was sealed under DEK {dek_id.hex()}, which is not the one in use "
                "and can't be had: the daemon's log says why",
            )
        return dek

    def answer(self, answer: Unwrapped | NotUnwrapped) -> None:
        """The supervisor's answer. What was not asked for, or too late, is wiped."""
        dek = answer.dek if isinstance(answer, Unwrapped) else None
        expected = self._asked is not None and self._asked[1] == answer.dek_id
        if expected and (dek is None or len(dek) == DEK_SIZE):
            self._settle(dek)
        elif dek is not None:
            wipe(dek)

    def expire(self, now: float) -> bool:
        """Give up what was asked for too long ago; whether there was something."""
        if self.deadline is None or now < self.deadline:
            return False
        self._settle(None)
        return True

    def forget(self, connection: Hashable) -> None:
        """Wipe a connection's keys: the blobs are open, or nobody needs them."""
        for wanted in [each for each in self._keys if each[0] is connection]:
            if (dek := self._keys.pop(wanted)) is not None:
                wipe(dek)
        if self._asked is not None and self._asked[0] is connection:
            self._asked = self.deadline = None

    def _begin(self, connection: Hashable, request: UnwrapKey) -> None:
        self._asked = connection, request.dek_id
        fits = len(CODEC.encode(request)) <= MAX_MESSAGE
        if fits and self.ask(request):
            self.deadline = time.monotonic() + DEADLINE
        else:
            self._settle(None)

    def _settle(self, dek: bytearray | None) -> None:
        assert self._asked is not None
        self._keys[self._asked] = dek
        self._asked = self.deadline = None
