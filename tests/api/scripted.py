"""A daemon that answers what it is told to, on a socket of its own, and notes what it was asked."""

import json
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DEADLINE = 60.0


class Asked(NamedTuple):
    """One request as it came in."""

    method: str
    target: str
    head: str
    body: bytes


def http(status: int, body: bytes) -> bytes:
    """An answer that is HTTP."""
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def document(status: int, content: object) -> bytes:
    """An answer that is JSON."""
    return http(status, json.dumps(content).encode())


@contextmanager
def scripted(
    path: Path, answers: Iterable[bytes], size: int | None = None
) -> Iterator[list[Asked]]:
    """Serve one answer after the other, each on a connection of its own.

    The list fills with the requests. `size`: read so many octets of a request and no more.
    """
    asked: list[Asked] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(DEADLINE)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(DEADLINE)
                    asked.append(_request(connection, size))
                    connection.sendall(answer)
            listener.close()  # whoever asks once more is refused, and does not wait

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def _request(connection: socket.socket, size: int | None) -> Asked:
    received = b""
    while size is None or len(received) < size:
        head, ended, body = received.partition(b"\r\n\r\n")
        if ended and len(body) == _length(head):
            break
        received += connection.recv(65536 if size is None else size - len(received))
    head, _, body = received.partition(b"\r\n\r\n")
    method, target, _ = head.decode().split(" ", 2)
    return Asked(method, target, head.decode(), body)


def _length(head: bytes) -> int:
    (length,) = (
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return length
