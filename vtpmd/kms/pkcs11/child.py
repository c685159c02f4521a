"""The process with the module: ``python -m vtpmd.kms.pkcs11.child``, on a socket as standard input.

Vendors' modules crash, hang and start threads; here they hurt nobody else. One thread asks them one
thing at a time. It ends when the daemon closes the socket, and with the daemon even while a module
hangs.
"""

import os
import socket
from typing import cast

from pkcs11.exceptions import PKCS11Error

from vtpmd.ipc.codec import MalformedMessageError
from vtpmd.kms.pkcs11.faults import Failure, meaning
from vtpmd.kms.pkcs11.messages import (
    HEADER,
    REPLIES,
    REQUESTS,
    Failed,
    Open,
    Reply,
    Request,
    Unwrapped,
    Wrap,
    body_size,
    frame,
)
from vtpmd.kms.pkcs11.token import OpenToken, open_token
from vtpmd.linux.hardening import end_with_parent, forbid_core_files, forbid_tracing
from vtpmd.storage.wipe import wipe


def main() -> None:
    """Answer requests until the daemon closes the socket."""
    forbid_core_files()
    forbid_tracing()
    end_with_parent()
    with _take_standard_input() as link:
        serve(link)


def serve(link: socket.socket) -> None:
    """Answer what comes over ``link`` until it is closed, or what comes is no request."""
    token: OpenToken | None = None
    while (request := _receive(link)) is not None:
        try:
            if isinstance(request, Open) and token is None:
                token = open_token(request)
                reply: Reply = token.opened
            elif token is None:
                reply = Failed("lost", "no token was opened")
            else:
                reply = token.answer(request)
        except Failure as error:
            reply = error.reply
        except PKCS11Error as error:
            reply = meaning(error)
        message = frame(REPLIES.encode(reply))
        try:
            link.sendall(message)
        finally:
            _wipe_secrets(message, request, reply)


def _wipe_secrets(message: bytearray, request: Request, reply: Reply) -> None:
    wipe(message)
    match request:
        case Open(pin=secret) | Wrap(dek=secret):
            wipe(secret)
    if isinstance(reply, Unwrapped):
        wipe(reply.dek)


def _receive(link: socket.socket) -> Request | None:
    """The next request; None if there is none, or what comes is none."""
    try:
        header = _exactly(link, HEADER.size)
        body = _exactly(link, body_size(header))
        try:
            return cast(Request, REQUESTS.decode(bytes(body)))
        finally:
            wipe(body)
    except (EOFError, MalformedMessageError):
        return None


def _exactly(link: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    with memoryview(received) as view:
        filled = 0
        while filled < size:
            count = link.recv_into(view[filled:])
            if count == 0:
                raise EOFError
            filled += count
    return received


def _take_standard_input() -> socket.socket:
    """The socket; a module that reads standard input or writes to standard output finds nothing."""
    link = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)
    return link


if __name__ == "__main__":
    main()
