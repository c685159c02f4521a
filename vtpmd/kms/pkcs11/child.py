"""The process with the module: `python -m vtpmd.kms.pkcs11.child`, on a socket as standard input.

Vendors' modules crash, hang and start threads; here they cannot harm the daemon. One thread makes
one call at a time. The process ends when the daemon closes the socket, and when the daemon ends,
even while a module hangs.
"""

import os
import socket
from typing import cast

from pkcs11.exceptions import PKCS11Error

from vtpmd.ipc.codec import MalformedMessageError
from vtpmd.linux.hardening import end_with_parent, forbid_core_files, forbid_tracing
from vtpmd.storage.wipe import wipe

from .errors import TokenError, meaning
from .messages import (
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
from .token import OpenToken, open_token


def main() -> None:
    """Answer requests until the daemon closes the socket."""
    forbid_core_files()
    forbid_tracing()
    end_with_parent()
    with _take_standard_input() as link:
        serve(link)


def serve(link: socket.socket) -> None:
    """Answer requests on `link` until it is closed or something else arrives."""
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
        except TokenError as error:
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
    """The next request; None at the end, or for anything that is not a request."""
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
    """Return the socket, and replace standard input and output by /dev/null for the module."""
    link = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)
    return link


if __name__ == "__main__":
    main()
