"""One HTTP request over a Unix socket, with nothing but the standard library's sockets."""

import contextlib
import socket
import struct
from typing import Final

TIMEOUT: Final = 120.0
MAX_ANSWER: Final = 64 * 1024 * 1024  # a list of some fifty thousand instances
_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@"
)


class AnswerError(ValueError):
    """What was received is no complete HTTP answer."""


def exchange(
    path: str, method: str, target: str, body: bytes, media_type: str
) -> tuple[int, bytes]:
    """Status and body of the answer to one request on the socket at `path`.

    Raises OSError and AnswerError.
    """
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: vtpmd\r\nConnection: close\r\n"
        f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path)
        sock.settimeout(TIMEOUT)
        # A daemon that refuses a request before it is all there answers, and closes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(head.encode() + body)
        return _parse(_received(sock))


def quote(text: str) -> str:
    """A word of a path or query, percent-encoded."""
    octets = text.encode(errors="replace")
    return "".join(chr(b) if b in _UNRESERVED else f"%{b:02X}" for b in octets)


def _connect(sock: socket.socket, path: str) -> None:
    """Connect, and wait for a place where too many others want to connect.

    A socket with a timeout of Python's would fail at once: it does not block in the kernel.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(TIMEOUT), 0))
    sock.connect(path)


def _received(sock: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while part := sock.recv(65536):
            answer += part
            if len(answer) > MAX_ANSWER:
                raise AnswerError(f"the answer has more than {MAX_ANSWER} bytes")
    except ConnectionResetError:
        if not answer:
            raise
        # Closed with octets of the request unread; Content-Length tells whether all was received.
    return bytes(answer)


def _parse(answer: bytes) -> tuple[int, bytes]:
    head, found, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if not found or len(words) < 3 or words[0] != b"HTTP/1.1" or not _is_number(words[1]):
        raise AnswerError("the answer is not HTTP")
    pairs = [line.partition(b":") for line in lines]
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = fields.get(b"content-length", b"")
    if not _is_number(length) or int(length) != len(body):
        raise AnswerError("the answer is not complete")
    return int(words[1]), body


def _is_number(octets: bytes) -> bool:
    return octets.isdigit() and len(octets) < 10
