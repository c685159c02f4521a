"""One HTTP request over a Unix socket, with nothing but the standard library's sockets."""

import contextlib
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

TIMEOUT: Final = 120.0
MAX_ANSWER: Final = 64 * 1024 * 1024  # a list of some fifty thousand instances
MAX_HEAD: Final = 64 * 1024
MAX_LINE: Final = 8 * 1024 * 1024
_UNRESERVED: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@"
)


class AnswerError(ValueError):
    """What was received is no complete HTTP answer."""


def message(method: str, target: str, body: bytes, fields: Mapping[str, str]) -> bytes:
    """A whole request; the values of `fields` are printable ASCII."""
    lines = [f"{method} {target} HTTP/1.1", "Host: vtpmd", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def exchange(path: str, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to one request on the socket at `path`.

    Raises OSError and AnswerError.
    """
    with _sent(path, request) as sock:
        head, begun = _head(sock)
        return head.status, _rest(sock, head, begun)


def lines(path: str, request: bytes) -> Iterator[tuple[int, bytes]]:
    """Status and each line of an answer that comes piece by piece, or all of another one.

    A daemon that has nothing to say for a while is waited for, as long as it lives. Raises OSError
    and AnswerError.
    """
    with _sent(path, request) as sock:
        head, begun = _head(sock)
        if head.fields.get(b"transfer-encoding", b"").lower() != b"chunked":
            yield head.status, _rest(sock, head, begun)
            return
        sock.settimeout(None)
        yield from ((head.status, line) for line in _lines(_chunks(sock, begun)))


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


@contextlib.contextmanager
def _sent(path: str, request: bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path)
        sock.settimeout(TIMEOUT)
        # A daemon that refuses a request before it is all there answers, and closes.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(request)
        yield sock


class _Head(NamedTuple):
    """Status and fields of an answer."""

    status: int
    fields: dict[bytes, bytes]


def _head(sock: socket.socket) -> tuple[_Head, bytes]:
    """The head of an answer, and the octets behind it that have come with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := sock.recv(65536)) or len(received) > MAX_HEAD:
            raise AnswerError("the answer is not HTTP")
        received += part
    head, _, begun = received.partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 3 or words[0] != b"HTTP/1.1" or not _is_number(words[1]):
        raise AnswerError("the answer is not HTTP")
    pairs = [line.partition(b":") for line in rest]
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return _Head(int(words[1]), fields), begun


def _rest(sock: socket.socket, head: _Head, begun: bytes) -> bytes:
    """The whole body of an answer of which the beginning has come."""
    length = head.fields.get(b"content-length", b"")
    body = bytearray(begun)
    # Who closes with octets of the request unread resets; Content-Length tells if all has come.
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            body += part
            if len(body) > MAX_ANSWER:
                raise AnswerError(f"the answer has more than {MAX_ANSWER} bytes")
    if not _is_number(length) or int(length) != len(body):
        raise AnswerError("the answer is not complete")
    return bytes(body)


def _chunks(sock: socket.socket, begun: bytes) -> Iterator[bytes]:
    """The pieces of a body in chunked coding (RFC 9112, 7.1)."""
    received = begun
    while True:
        while b"\r\n" not in received:
            received += _more(sock)
        size, _, received = received.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            raise AnswerError("the answer is not HTTP") from None
        if not 0 <= length <= MAX_LINE:
            raise AnswerError(f"a piece of the answer has {length} bytes")
        while len(received) < length + 2:
            received += _more(sock)
        if length == 0:
            return
        yield received[:length]
        received = received[length + 2 :]


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    unfinished = b""
    for chunk in chunks:
        *whole, unfinished = (unfinished + chunk).split(b"\n")
        if len(unfinished) > MAX_LINE:
            raise AnswerError(f"a line of the answer has more than {MAX_LINE} bytes")
        yield from whole


def _more(sock: socket.socket) -> bytes:
    if not (part := sock.recv(65536)):
        raise AnswerError("the answer is not complete")
    return part


def _is_number(octets: bytes) -> bool:
    return octets.isdigit() and len(octets) < 10
