"""The data channel: TPM commands framed by their size field, and what is answered before a TPM.

Two forms: the bare command, and the TCG form ``u32 8, u8 locality, u32 size, command`` whose
response is ``u32 size, response, u32 0``.
"""

import struct
from typing import NamedTuple

from vtpmd.tpm.engine import RC, refusal

from .table import MAX_LOCALITY

_HEADER = struct.Struct(">HII")
_TCG_HEADER = struct.Struct(">IBI")
_SIZE_END = 6
_TPM_SEND_COMMAND = 8
_CC_SET_LOCALITY = 0x20001000
# swtpm answers a bad locality with this number, which lacks the warning bit of TPM_RC_LOCALITY.
_VENDOR_BAD_LOCALITY = 0x107


class DataRequest(NamedTuple):
    """A command, with the locality of its TCG header if it had one, or why it is none."""

    command: bytes = b""
    tcg_locality: int | None = None
    tcg: bool = False
    error: RC | None = None

    def __repr__(self) -> str:
        return f"DataRequest({len(self.command)} octets)"

    def frame(self, response: bytes) -> bytes:
        """The response as this client expects it."""
        if not self.tcg:
            return response
        return struct.pack(">I", len(response)) + response + bytes(4)


class DataParser:
    """Incremental. ``limit`` is the negotiated buffer size: longer commands are never buffered.

    A client may announce more than it sends (a guest writes the header, QEMU cuts at its buffer):
    ``expire``, called once the client has been silent for the deadline, refuses what is incomplete
    and starts afresh with the next octet.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0
        self._skip_tcg = False

    @property
    def partial(self) -> bool:
        """Whether a command has begun and not ended."""
        return bool(self._buffer or self._skip)

    def feed(self, data: bytes, limit: int) -> list[DataRequest]:
        """The commands that ``data`` completed, in order."""
        self._buffer += data
        requests = []
        while (request := self._next(limit)) is not None:
            requests.append(request)
        return requests

    def expire(self) -> list[DataRequest]:
        """Give up on an incomplete command: its refusal."""
        if not self.partial:
            return []
        tcg = self._skip_tcg if self._skip else _is_tcg(self._buffer)
        self._buffer.clear()
        self._skip = 0
        return [DataRequest(tcg=tcg, error=RC.COMMAND_SIZE)]

    def _next(self, limit: int) -> DataRequest | None:
        if self._skip:
            skipped = min(self._skip, len(self._buffer))
            del self._buffer[:skipped]
            self._skip -= skipped
            return None if self._skip else DataRequest(tcg=self._skip_tcg, error=RC.COMMAND_SIZE)
        buffer = self._buffer
        if len(buffer) < _SIZE_END:
            return None
        tcg = _is_tcg(buffer)
        if tcg and len(buffer) < _TCG_HEADER.size:
            return None
        start, size, locality = 0, int.from_bytes(buffer[2:_SIZE_END], "big"), None
        if tcg:
            start = _TCG_HEADER.size
            _, locality, size = _TCG_HEADER.unpack_from(buffer)
        if size < _HEADER.size:
            buffer.clear()  # where the next command starts is anyone's guess
            return DataRequest(tcg=tcg, error=RC.COMMAND_SIZE)
        if size > limit:
            self._skip, self._skip_tcg = start + size, tcg
            return self._next(limit)
        if len(buffer) < start + size:
            return None
        command = bytes(buffer[start : start + size])
        del buffer[: start + size]
        return DataRequest(command, locality, tcg)


def _is_tcg(begun: bytearray) -> bool:
    return int.from_bytes(begun[:4], "big") == _TPM_SEND_COMMAND and len(begun) >= 4


class Settled(NamedTuple):
    """What can be said without the TPM: a response, or None to execute it; the locality to set."""

    response: bytes | None
    locality: int | None = None


def settle(
    request: DataRequest, *, running: bool, set_locality: bool, max_locality: int = MAX_LOCALITY
) -> Settled:
    """Judge a request before it reaches the TPM.

    ``set_locality``: whether the vendor command TPM2_CC_SET_LOCALITY is permitted;
    ``max_locality``: the highest locality that may be set.
    """
    if request.error is not None:
        return Settled(refusal(request.error))
    locality = request.tcg_locality
    if locality is not None and locality > max_locality:
        return Settled(refusal(RC.LOCALITY))
    _, _, code = _HEADER.unpack_from(request.command)
    if code == _CC_SET_LOCALITY:
        return _vendor_set_locality(request.command, set_locality, max_locality)
    return Settled(None if running else refusal(RC.FAILURE), locality)


def _vendor_set_locality(command: bytes, permitted: bool, max_locality: int) -> Settled:
    if not permitted:
        return Settled(refusal(RC.FAILURE))
    if len(command) == _HEADER.size:
        return Settled(refusal(RC.INSUFFICIENT))
    locality = command[_HEADER.size]
    if locality > max_locality:
        return Settled(refusal(_VENDOR_BAD_LOCALITY))
    return Settled(refusal(RC.SUCCESS), locality)
