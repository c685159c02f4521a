"""An HTTPS server that answers with what a test writes down, well-formed or not."""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h11
import trio

from tests.kms.certificates import Pair


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def answer(
    status: int,
    body: bytes | Mapping[str, Any] = b"",
    headers: Mapping[str, str] | None = None,
    missing: int = 0,
) -> bytes:
    """The octets of an HTTP answer, without its last `missing` ones."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **(headers or {})}.items())
    whole = f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + content
    return whole[: len(whole) - missing]


HANG = b"HANG"


@dataclass
class FaultServer:
    """Gives `answers` in turn, one per request, the last one again and again.

    HANG is never an answer; every other one that does not end as HTTP does closes the connection.
    """

    answers: list[bytes]
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    hanging: trio.Event = field(default_factory=trio.Event)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    async def start(self, nursery: trio.Nursery, pair: Pair) -> None:
        """Serve until the nursery is cancelled."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        serve = partial(trio.serve_ssl_over_tcp, self._serve, 0, context, host="127.0.0.1")
        listeners = await nursery.start(serve)
        self.port = listeners[0].transport_listener.socket.getsockname()[1]

    async def _serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            async with stream:
                while await self._converse(stream):
                    pass
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            pass  # the client is gone, or never was one

    async def _converse(self, stream: trio.SSLStream[trio.SocketStream]) -> bool:
        connection = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(1 << 16)
                if not data and head is None:
                    return False
                connection.receive_data(bytes(data))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        assert head is not None
        headers = {name.decode(): value.decode() for name, value in head.headers}
        self.asked.append(Asked(head.method.decode(), head.target.decode(), headers, body))
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if said is HANG:
            self.hanging.set()
            await trio.sleep_forever()
        await stream.send_all(said)
        return _is_whole(said)


def _is_whole(said: bytes) -> bool:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "localhost")]))
    client.send(h11.EndOfMessage())
    client.receive_data(said)
    try:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return False
    except h11.RemoteProtocolError:
        return False
    return True
