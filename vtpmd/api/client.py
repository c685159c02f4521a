"""One request to the daemon's admin socket, with nothing but the standard library's sockets."""

import json
import socket
from typing import Any

from . import names, problems

TIMEOUT = 120.0
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:@")


class Failure(Exception):
    """A request that did not succeed: exit status, text for people, and the problem document."""

    def __init__(self, exit_status: int, detail: str, document: dict[str, Any]) -> None:
        super().__init__(detail)
        self.exit_status = exit_status
        self.detail = detail
        self.document = document

    @classmethod
    def of(cls, problem: problems.Problem, detail: str) -> "Failure":
        """A failure that vtpmctl finds by itself."""
        return cls(problem.exit_status, detail, {"code": problem.code, "detail": detail})


class Client:
    """The daemon behind the admin socket at `path`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def call(self, route: names.Route, name: str = "", content: object = None) -> Any:
        """The JSON answer to one request. Raises Failure."""
        body = b"" if content is None else json.dumps(content).encode()
        return self._json(self._request(route, name, body, "application/json"))

    def download(self, route: names.Route, name: str = "", content: object = None) -> bytes:
        """The file that answers one request. Raises Failure."""
        body = b"" if content is None else json.dumps(content).encode()
        return self._request(route, name, body, "application/json")

    def upload(self, route: names.Route, file: bytes, options: dict[str, str]) -> Any:
        """The JSON answer to one request whose body is a file. Raises Failure."""
        query = "&".join(f"{key}={_quote(value)}" for key, value in options.items())
        answer = self._request(route, "", file, names.BUNDLE_MEDIA_TYPE, query)
        return self._json(answer)

    def _json(self, answer: bytes) -> Any:
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise self._unreachable(error) from None

    def _request(
        self, route: names.Route, name: str, body: bytes, media_type: str, query: str = ""
    ) -> bytes:
        target = route.path.format(name=_quote(name)) + (f"?{query}" if query else "")
        head = (
            f"{route.method} {target} HTTP/1.1\r\nHost: vtpmd\r\nConnection: close\r\n"
            f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            status, answer = _parse(self._exchange(head.encode() + body))
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None
        if status >= 400:
            raise _failure(self._json(answer))
        return answer

    def _exchange(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(TIMEOUT)
            sock.connect(self._path)
            sock.sendall(request)
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def _unreachable(self, error: Exception) -> Failure:
        reason = getattr(error, "strerror", None) or str(error)
        detail = (
            f"No answer from vtpmd on {self._path}: {reason}.\n"
            "Is the daemon running (systemctl status vtpmd)? Another socket can be given with "
            f"--socket or {names.ADMIN_SOCKET_VARIABLE}."
        )
        return Failure(names.EXIT_UNREACHABLE, detail, {"code": "unreachable", "detail": detail})


def _parse(response: bytes) -> tuple[int, bytes]:
    head, found, body = response.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if not found or not words[0].startswith(b"HTTP/1.") or len(words) < 3:
        raise ValueError("the answer is not HTTP")
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == b"content-length" and int(value) != len(body):
            raise ValueError("the answer is not complete")
    return int(words[1]), body


def _failure(document: Any) -> Failure:
    if not isinstance(document, dict) or document.get("code") not in problems.PROBLEMS:
        return Failure(1, "The daemon's answer is not understood.", {"code": "internal"})
    problem = problems.PROBLEMS[document["code"]]
    detail = document.get("detail") or problem.title
    return Failure(problem.exit_status, str(detail), document)


def _quote(name: str) -> str:
    return "".join(chr(b) if b in UNRESERVED else f"%{b:02X}" for b in name.encode())
