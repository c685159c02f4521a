"""The data channel: TPM commands framed by their size field, and what is answered before a TPM.

One command at a time
---------------------
A conforming client waits for its answer. Whatever has come behind a command is dropped, not queued.
What is no command gets one error, TPM_RC_COMMAND_SIZE in ten octets, and is dropped with all that
came with it: a size field beyond the buffer or below ten at once, a header or a command cut short
when `DataParser.expire` is called. The next octet received begins the next command. So one write
of a client is answered once, and client and TPM are in step again, whatever a guest wrote.

Forms
-----
The bare command is the only form on a descriptor that QEMU attached, where a guest chooses the
octets. On connections of a data listener there are two more things of swtpm's: the TCG form
`u32 8, u8 locality, u32 size, command`, whose response is `u32 size, response, u32 0` and whose
locality holds for that command, and the vendor command TPM2_CC_SET_LOCALITY.
"""

import struct
from typing import NamedTuple

from vtpmd.tpm.engine import RC, refusal

from .table import MAX_LOCALITY

_HEADER = struct.Struct(">HII")
_HEADER_SIZE = _HEADER.size
_TCG_HEADER = struct.Struct(">IBI")
_SIZE_END = 6
_unpack = _HEADER.unpack_from
_TPM_SEND_COMMAND = struct.pack(">I", 8)
CC_SET_LOCALITY = 0x20001000
# swtpm answers a bad locality with this number, which lacks the warning bit of TPM_RC_LOCALITY.
_VENDOR_BAD_LOCALITY = 0x107


def bounded(response: bytes, limit: int) -> bytes:
    """The response, or TPM_RC_SIZE in the place of one that is longer than the client's buffer."""
    return response if len(response) <= limit else refusal(RC.SIZE)


def code_of(command: bytes) -> int:
    """The command code of a whole command."""
    code: int = _unpack(command)[2]
    return code


def code_if_whole(data: bytes, limit: int) -> int | None:
    """The command code if octets that begin a command are one bare command within `limit`.

    Those of the TCG form are not: what would be their size is beyond any buffer.
    """
    received = len(data)
    if received < _HEADER_SIZE:
        return None
    _, size, code = _unpack(data)
    return code if size == received <= limit else None


class DataRequest(NamedTuple):
    """A command, with the locality of its TCG header if it had one; or why it is refused."""

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
    """Collects one command, piece by piece.

    `tcg_form`: whether the TCG form is known. `unfinished` is the beginning of a command that has
    not ended. `dropped` counts the octets that were no part of a whole command.
    """

    def __init__(self, *, tcg_form: bool) -> None:
        self._tcg_form = tcg_form
        self.unfinished = bytearray()
        self.dropped = 0

    def feed(self, data: bytes, limit: int) -> DataRequest | None:
        """The command that `data` completed, or the refusal of what is no command.

        `limit` is the negotiated buffer size, in octets. Nothing is left in the buffer afterwards.
        """
        self.unfinished += data
        tcg = self._is_tcg()
        start = _TCG_HEADER.size if tcg else 0
        if len(self.unfinished) < (start or _SIZE_END):
            return None
        size = int.from_bytes(
            self.unfinished[start - 4 : start] if tcg else self.unfinished[2:_SIZE_END]
        )
        if not _HEADER.size <= size <= limit:
            return self._refuse(tcg)
        if len(self.unfinished) < start + size:
            return None
        command = bytes(self.unfinished[start : start + size])
        locality = self.unfinished[_SIZE_END - 2] if tcg else None
        self.dropped += len(self.unfinished) - start - size
        self.unfinished.clear()
        return DataRequest(command, locality, tcg)

    def expire(self) -> DataRequest | None:
        """Give up on an incomplete command; returns its refusal."""
        return self._refuse(self._is_tcg()) if self.unfinished else None

    def _refuse(self, tcg: bool) -> DataRequest:
        self.dropped += len(self.unfinished)
        self.unfinished.clear()
        return DataRequest(tcg=tcg, error=RC.COMMAND_SIZE)

    def _is_tcg(self) -> bool:
        return self._tcg_form and self.unfinished.startswith(_TPM_SEND_COMMAND)


def judge(request: DataRequest, running: bool, max_locality: int = MAX_LOCALITY) -> bytes | None:
    """What can be answered without the TPM, None for a command to execute."""
    if request.error is not None:
        return refusal(request.error)
    if request.tcg_locality is not None and request.tcg_locality > max_locality:
        return refusal(RC.LOCALITY)
    return None if running else refusal(RC.FAILURE)


class VendorResponse(NamedTuple):
    """The response to TPM2_CC_SET_LOCALITY, and the locality to set from now on."""

    response: bytes
    locality: int | None = None


def vendor_set_locality(
    command: bytes, *, permitted: bool, max_locality: int = MAX_LOCALITY
) -> VendorResponse | None:
    """Answer the vendor command TPM2_CC_SET_LOCALITY; None for any other command."""
    if code_of(command) != CC_SET_LOCALITY:
        return None
    if not permitted:
        return VendorResponse(refusal(RC.FAILURE))
    if len(command) == _HEADER.size:
        return VendorResponse(refusal(RC.INSUFFICIENT))
    locality = command[_HEADER.size]
    if locality > max_locality:
        return VendorResponse(refusal(_VENDOR_BAD_LOCALITY))
    return VendorResponse(refusal(RC.SUCCESS), locality)
