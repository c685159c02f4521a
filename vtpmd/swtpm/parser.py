"""From the octets of a control connection to requests, wherever the octets were cut."""

import struct
from dataclasses import dataclass

from .table import COMMANDS, MAX_STATEBLOB, Command, Result, Shape, Stream

_CODE = struct.Struct(">I")
_PADDING = 3


@dataclass(frozen=True)
class Request:
    """One request, or one piece of a streamed one.

    `command` is None for an unknown number. `data` is a state blob, or a piece of HASH_DATA;
    `last` is False while more pieces follow. `error` answers a malformed request, and `close`
    says that the connection cannot be read any further.
    """

    command: Command | None
    fields: tuple[int, ...] = ()
    data: bytes = b""
    last: bool = True
    error: Result | None = None
    close: bool = False


class RequestParser:
    """Incremental: `feed` takes what one receive returned and gives the requests it completed."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._may_be_padding = False
        self._stream: tuple[Command, tuple[int, ...], int] | None = None

    @property
    def partial(self) -> bool:
        """Whether a request has begun and is not complete."""
        # Up to three octets behind a padded command may be QEMU's padding, not a new request.
        begun = len(self._buffer) > (_PADDING if self._may_be_padding else 0)
        return begun or self._stream is not None

    @property
    def streaming(self) -> bool:
        """Whether what is still missing is streamed data, which may take longer than a header."""
        return self._stream is not None

    def feed(self, data: bytes) -> list[Request]:
        """The requests (and pieces of HASH_DATA) that `data` completed, in order."""
        self._buffer += data
        requests = []
        while (request := self._next()) is not None:
            requests.append(request)
            if request.close:
                self._buffer.clear()
                break
        return requests

    def _next(self) -> Request | None:
        if self._stream is not None:
            return self._next_of_stream(*self._stream)
        self._skip_padding()
        buffer = self._buffer
        if len(buffer) < _CODE.size:
            return None
        command = COMMANDS.get(_CODE.unpack_from(buffer)[0])
        if command is None:
            buffer.clear()
            return Request(None, error=Result.BAD_ORDINAL)
        shape = command.shape
        length = _CODE.size + struct.calcsize(shape.body)
        if len(buffer) < length:
            return None
        fields = struct.unpack_from(shape.body, buffer, _CODE.size)
        del buffer[:length]
        return self._complete(command, shape, fields)

    def _complete(self, command: Command, shape: Shape, fields: tuple[int, ...]) -> Request | None:
        if shape.exact and self._buffer:
            self._buffer.clear()
            return Request(command, error=Result.BAD_PARAMETER)
        if shape.padded:
            self._take_padding_of_same_receive()
        if shape.stream is Stream.NONE:
            return Request(command, fields)
        length = fields[-1]
        if shape.stream is Stream.WHOLE and length > MAX_STATEBLOB:
            return Request(command, error=Result.SIZE, close=True)
        self._stream = (command, fields, length)
        return self._next_of_stream(*self._stream)

    def _next_of_stream(
        self, command: Command, fields: tuple[int, ...], owed: int
    ) -> Request | None:
        available = min(owed, len(self._buffer))
        whole = available == owed
        if not whole and (command.shape.stream is Stream.WHOLE or not available):
            return None
        data = bytes(self._buffer[:available])
        del self._buffer[:available]
        self._stream = None if whole else (command, fields, owed - available)
        return Request(command, fields, data, last=whole)

    def _take_padding_of_same_receive(self) -> None:
        """QEMU sends locality and three octets at once, tpm2-tss the locality alone.

        The octets may hold anything, but every command starts with three zeros and something else.
        Zeros that trail in later receives are left to `_skip_padding`.
        """
        buffer = self._buffer
        if len(buffer) > _PADDING and buffer[:_PADDING] == bytes(_PADDING) and buffer[_PADDING]:
            return
        self._may_be_padding = len(buffer) < _PADDING and not any(buffer)
        if not self._may_be_padding:
            del buffer[:_PADDING]

    def _skip_padding(self) -> None:
        if self._may_be_padding and len(self._buffer) > _PADDING:
            self._may_be_padding = False
            if not any(self._buffer[: _PADDING + 1]):  # there is no command 0
                del self._buffer[:_PADDING]
