"""What each control command does: from a parsed request to the octets of its response.

The TPM behind it is a `Host`. A host refuses with `ControlError`; here, and only here, that
becomes a response. Nothing in this module does I/O.
"""

import json
import struct
from collections.abc import Callable, Mapping

from .host import Connection, ControlError, Host
from .parser import Request
from .table import (
    BLOB_ENCRYPTED,
    CAPABILITIES,
    INIT_DELETE_VOLATILE,
    MAX_INFO_CHUNK,
    MAX_LOCALITY,
    BlobType,
    Command,
    Requires,
    Result,
)

Answer = tuple[tuple[int, ...], bytes]
_NOTHING: Answer = ((), b"")


class ControlChannel:
    """Answers the requests of one client.

    `attach` takes the descriptor that came with SET_DATAFD or raises ControlError. `exported` are
    the state blobs this client has fetched. `connection`: of a client that was served before.
    """

    def __init__(
        self, host: Host, attach: Callable[[], None], connection: Connection | None = None
    ) -> None:
        self.host = host
        self.attach = attach
        self.connection = connection or Connection()
        self.exported: dict[BlobType, bytes] = {}

    def close(self) -> None:
        """The client is gone."""
        self.host.migration.disconnected(self.connection)

    def answer(self, request: Request) -> bytes:
        """The response; empty for all but the last piece of a streamed request."""
        try:
            fields, tail = self._act(request)
        except ControlError as error:
            return refuse(request, error.result)
        if not request.last or request.command is None:
            return b""
        return struct.pack(request.command.shape.response, Result.SUCCESS, *fields) + tail

    def _act(self, request: Request) -> Answer:
        if request.error is not None:
            raise ControlError(request.error)
        if request.command is None:
            raise ControlError(Result.BAD_ORDINAL)
        if not _met(request.command.shape.requires, self.host.power.running):
            raise ControlError(Result.BAD_ORDINAL)
        return _HANDLERS[request.command](self, request)


def refuse(request: Request, result: Result) -> bytes:
    """The response to a refused request; empty while more pieces of it follow."""
    if not request.last:
        return b""
    response = struct.pack(">I", result)
    if request.command is not None and request.command.shape.full_errors:
        return response.ljust(struct.calcsize(request.command.shape.response), b"\0")
    return response


def _met(requires: Requires, running: bool) -> bool:
    return requires is Requires.ANY or (requires is Requires.RUNNING) is running


# --- handlers ---------------------------------------------------------------------------------

Handler = Callable[[ControlChannel, Request], Answer]


def _get_capability(_channel: ControlChannel, _request: Request) -> Answer:
    return (CAPABILITIES,), b""


def _init(channel: ControlChannel, request: Request) -> Answer:
    channel.connection.begun = True
    delete_volatile = bool(request.fields[0] & INIT_DELETE_VOLATILE)
    channel.host.power.init(channel.connection, delete_volatile=delete_volatile)
    return _NOTHING


def _shutdown(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.power.shutdown(channel.connection)
    return _NOTHING


def _get_established(channel: ControlChannel, _request: Request) -> Answer:
    return (channel.host.measurement.established,), b""


def _set_locality(channel: ControlChannel, request: Request) -> Answer:
    (locality,) = request.fields
    if locality > channel.host.settings.max_locality:
        raise ControlError(Result.BAD_LOCALITY)
    channel.host.settings.locality = locality
    return _NOTHING


def _hash_start(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.measurement.hash_start()
    return _NOTHING


def _hash_data(channel: ControlChannel, request: Request) -> Answer:
    channel.host.measurement.hash_data(request.data)
    return _NOTHING


def _hash_end(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.measurement.hash_end()
    return _NOTHING


def _cancel(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.cancel()
    return _NOTHING


def _store_volatile(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.migration.store_volatile()
    return _NOTHING


def _reset_established(channel: ControlChannel, request: Request) -> Answer:
    (locality,) = request.fields
    if locality > MAX_LOCALITY or not channel.host.measurement.reset_established(locality):
        raise ControlError(Result.BAD_LOCALITY)
    return _NOTHING


def _get_stateblob(channel: ControlChannel, request: Request) -> Answer:
    """Always sealed, whatever the flags ask for; from `offset` to the end in one response.

    Offsets above 0 read on in the blob that was made for offset 0. A client that has fetched the
    permanent and the volatile state and then asks for the savestate, as QEMU does, has everything:
    this is where a migration hands over.
    """
    _, kind, offset = request.fields
    if kind not in (BlobType.PERMANENT, BlobType.VOLATILE):
        if kind == BlobType.SAVESTATE and len(channel.exported) == 2:
            channel.host.migration.hand_over(channel.connection)
            channel.exported.clear()
        raise ControlError(Result.RETRY)  # "no such blob": a TPM 2.0 has no savestate
    blob = BlobType(kind)
    if offset == 0 or blob not in channel.exported:
        channel.exported[blob] = channel.host.migration.state_blob(channel.connection, blob)
    rest = channel.exported[blob][offset:]
    return (BLOB_ENCRYPTED, len(rest), len(rest)), rest


def _set_stateblob(channel: ControlChannel, request: Request) -> Answer:
    _, kind, length = request.fields
    try:
        blob = BlobType(kind)
    except ValueError:
        raise ControlError(Result.BAD_PARAMETER) from None
    if length:  # an empty blob says that there is none
        channel.host.migration.set_state_blob(channel.connection, blob, request.data)
    return _NOTHING


def _stop(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.power.stop()
    return _NOTHING


def _get_config(_channel: ControlChannel, _request: Request) -> Answer:
    return (0,), b""  # no keys of swtpm's kind


def _set_datafd(channel: ControlChannel, _request: Request) -> Answer:
    channel.attach()
    channel.connection.attached = True
    return _NOTHING


def _set_buffersize(channel: ControlChannel, request: Request) -> Answer:
    (wanted,) = request.fields
    settings, power = channel.host.settings, channel.host.power
    smallest, largest = power.buffer_sizes
    if wanted:
        if power.running:
            raise ControlError(Result.BAD_ORDINAL)
        settings.buffer_size = min(max(wanted, smallest), largest)
    return (settings.buffer_size, smallest, largest), b""


def _get_info(channel: ControlChannel, request: Request) -> Answer:
    mask, offset, _ = request.fields
    text = json.dumps(channel.host.info(mask), separators=(",", ":")).encode() + b"\0"
    if offset >= len(text):
        raise ControlError(Result.BAD_PARAMETER)
    chunk = text[offset : offset + MAX_INFO_CHUNK]
    return (len(text), len(chunk)), chunk


def _lock_storage(channel: ControlChannel, _request: Request) -> Answer:
    channel.host.migration.lock_storage(channel.connection)
    return _NOTHING


def complete(handlers: Mapping[Command, Handler]) -> Mapping[Command, Handler]:
    """These handlers. Raises TypeError if a command is without one."""
    missing = [command.name for command in Command if command not in handlers]
    if missing:
        raise TypeError(f"control commands without a handler: {', '.join(missing)}")
    return handlers


_HANDLERS = complete(
    {
        Command.GET_CAPABILITY: _get_capability,
        Command.INIT: _init,
        Command.SHUTDOWN: _shutdown,
        Command.GET_TPMESTABLISHED: _get_established,
        Command.SET_LOCALITY: _set_locality,
        Command.HASH_START: _hash_start,
        Command.HASH_DATA: _hash_data,
        Command.HASH_END: _hash_end,
        Command.CANCEL_TPM_CMD: _cancel,
        Command.STORE_VOLATILE: _store_volatile,
        Command.RESET_TPMESTABLISHED: _reset_established,
        Command.GET_STATEBLOB: _get_stateblob,
        Command.SET_STATEBLOB: _set_stateblob,
        Command.STOP: _stop,
        Command.GET_CONFIG: _get_config,
        Command.SET_DATAFD: _set_datafd,
        Command.SET_BUFFERSIZE: _set_buffersize,
        Command.GET_INFO: _get_info,
        Command.LOCK_STORAGE: _lock_storage,
    }
)
