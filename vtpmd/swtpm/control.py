"""What each control command does: from a parsed request to the octets of its response.

The TPM behind it is a ``Host``. A host refuses with ``ControlError``; here, and only here, that
becomes a response. Nothing in this module does I/O.
"""

import json
import struct
from collections.abc import Callable
from typing import Protocol

from .parser import Request
from .table import (
    BLOB_ENCRYPTED,
    CAPABILITIES,
    INIT_DELETE_VOLATILE,
    MAX_BUFFER,
    MAX_INFO_CHUNK,
    MAX_LOCALITY,
    MIN_BUFFER,
    SHAPES,
    BlobType,
    Command,
    Power,
    Result,
)


class ControlError(Exception):
    """A command was refused; nothing has changed."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.name)
        self.result = result


class Host(Protocol):
    """The TPM as the control channel sees it. Every method may raise ControlError.

    ``max_locality`` is the highest that a client may set. ``locality`` and ``buffer_size`` belong
    to the daemon, not to the TPM: they outlive INIT and STOP, since QEMU does not tell us its
    locality again.
    """

    locality: int
    max_locality: int
    buffer_size: int

    @property
    def running(self) -> bool: ...
    @property
    def established(self) -> bool: ...
    def init(self, *, delete_volatile: bool) -> None: ...
    def stop(self) -> None: ...
    def shutdown(self) -> None: ...
    def cancel(self) -> None: ...
    def reset_established(self, locality: int) -> bool: ...
    def hash_start(self) -> None: ...
    def hash_data(self, data: bytes) -> None: ...
    def hash_end(self) -> None: ...
    def store_volatile(self) -> None: ...
    def state_blob(self, kind: BlobType) -> bytes: ...
    def set_state_blob(self, kind: BlobType, data: bytes) -> None: ...
    def hand_over(self) -> None: ...
    def lock_storage(self) -> None: ...
    def info(self, mask: int) -> dict[str, object]: ...


def refuse(request: Request, result: Result) -> bytes:
    """The response to a refused request; empty while more pieces of it follow."""
    if not request.last:
        return b""
    response = struct.pack(">I", result)
    if request.command is not None and SHAPES[request.command].full_errors:
        return response.ljust(struct.calcsize(SHAPES[request.command].response), b"\0")
    return response


Answer = tuple[tuple[int, ...], bytes]
_NOTHING: Answer = ((), b"")


class ControlChannel:
    """Answers the requests of one client.

    ``attach`` takes the descriptor that came with SET_DATAFD or raises ControlError.
    """

    def __init__(self, host: Host, attach: Callable[[], None]) -> None:
        self._host = host
        self._attach = attach
        self._exported: dict[BlobType, bytes] = {}
        self._handlers: dict[Command, Callable[[Request], Answer]] = {
            Command.GET_CAPABILITY: lambda _: ((CAPABILITIES,), b""),
            Command.INIT: self._init,
            Command.SHUTDOWN: self._shutdown,
            Command.GET_TPMESTABLISHED: lambda _: ((self._host.established,), b""),
            Command.SET_LOCALITY: self._set_locality,
            Command.HASH_START: self._hash_start,
            Command.HASH_DATA: self._hash_data,
            Command.HASH_END: self._hash_end,
            Command.CANCEL_TPM_CMD: self._cancel,
            Command.STORE_VOLATILE: self._store_volatile,
            Command.RESET_TPMESTABLISHED: self._reset_established,
            Command.GET_STATEBLOB: self._get_stateblob,
            Command.SET_STATEBLOB: self._set_stateblob,
            Command.STOP: self._stop,
            Command.GET_CONFIG: lambda _: ((0,), b""),  # no keys of swtpm's kind
            Command.SET_DATAFD: self._set_datafd,
            Command.SET_BUFFERSIZE: self._set_buffersize,
            Command.GET_INFO: self._get_info,
            Command.LOCK_STORAGE: self._lock_storage,
        }

    def answer(self, request: Request) -> bytes:
        """The response; empty for all but the last piece of a streamed request."""
        try:
            fields, tail = self._act(request)
        except ControlError as error:
            return refuse(request, error.result)
        if not request.last or request.command is None:
            return b""
        return struct.pack(SHAPES[request.command].response, Result.SUCCESS, *fields) + tail

    def _act(self, request: Request) -> Answer:
        if request.error is not None:
            raise ControlError(request.error)
        if request.command is None:
            raise ControlError(Result.BAD_ORDINAL)
        power = SHAPES[request.command].power
        if power is not Power.ANY and (power is Power.RUNNING) is not self._host.running:
            raise ControlError(Result.BAD_ORDINAL)
        return self._handlers[request.command](request)

    def _init(self, request: Request) -> Answer:
        self._host.init(delete_volatile=bool(request.fields[0] & INIT_DELETE_VOLATILE))
        return _NOTHING

    def _shutdown(self, _: Request) -> Answer:
        self._host.shutdown()
        return _NOTHING

    def _stop(self, _: Request) -> Answer:
        self._host.stop()
        return _NOTHING

    def _set_locality(self, request: Request) -> Answer:
        (locality,) = request.fields
        if locality > self._host.max_locality:
            raise ControlError(Result.BAD_LOCALITY)
        self._host.locality = locality
        return _NOTHING

    def _hash_start(self, _: Request) -> Answer:
        self._host.hash_start()
        return _NOTHING

    def _hash_data(self, request: Request) -> Answer:
        self._host.hash_data(request.data)
        return _NOTHING

    def _hash_end(self, _: Request) -> Answer:
        self._host.hash_end()
        return _NOTHING

    def _cancel(self, _: Request) -> Answer:
        self._host.cancel()
        return _NOTHING

    def _store_volatile(self, _: Request) -> Answer:
        self._host.store_volatile()
        return _NOTHING

    def _reset_established(self, request: Request) -> Answer:
        (locality,) = request.fields
        if locality > MAX_LOCALITY or not self._host.reset_established(locality):
            raise ControlError(Result.BAD_LOCALITY)
        return _NOTHING

    def _get_stateblob(self, request: Request) -> Answer:
        """Always sealed, whatever the flags ask for; from ``offset`` to the end in one response.

        Offsets above 0 read on in the blob that was made for offset 0. A client that has fetched
        the permanent and the volatile state and then asks for the savestate, as QEMU does, has
        everything: this is where a migration hands over.
        """
        _, kind, offset = request.fields
        if kind not in (BlobType.PERMANENT, BlobType.VOLATILE):
            if kind == BlobType.SAVESTATE and len(self._exported) == 2:
                self._exported.clear()
                self._host.hand_over()
            raise ControlError(Result.RETRY)  # "no such blob": a TPM 2.0 has no savestate
        blob = BlobType(kind)
        if offset == 0 or blob not in self._exported:
            self._exported[blob] = self._host.state_blob(blob)
        rest = self._exported[blob][offset:]
        return (BLOB_ENCRYPTED, len(rest), len(rest)), rest

    def _set_stateblob(self, request: Request) -> Answer:
        _, kind, length = request.fields
        try:
            blob = BlobType(kind)
        except ValueError:
            raise ControlError(Result.BAD_PARAMETER) from None
        if length:  # an empty blob says that there is none
            self._host.set_state_blob(blob, request.data)
        return _NOTHING

    def _set_datafd(self, _: Request) -> Answer:
        self._attach()
        return _NOTHING

    def _set_buffersize(self, request: Request) -> Answer:
        (wanted,) = request.fields
        if wanted:
            if self._host.running:
                raise ControlError(Result.BAD_ORDINAL)
            self._host.buffer_size = min(max(wanted, MIN_BUFFER), MAX_BUFFER)
        return (self._host.buffer_size, MIN_BUFFER, MAX_BUFFER), b""

    def _get_info(self, request: Request) -> Answer:
        mask, offset, _ = request.fields
        text = json.dumps(self._host.info(mask), separators=(",", ":")).encode() + b"\0"
        if offset >= len(text):
            raise ControlError(Result.BAD_PARAMETER)
        chunk = text[offset : offset + MAX_INFO_CHUNK]
        return (len(text), len(chunk)), chunk

    def _lock_storage(self, _: Request) -> Answer:
        self._host.lock_storage()
        return _NOTHING
