"""The admin socket under good clients, bad clients and strangers: over a real Unix socket."""

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from vtpmd.admin import server
from vtpmd.admin.admission import CONNECTIONS_PER_USER
from vtpmd.admin.conversation import MAX_HEADER, Request, Response
from vtpmd.admin.server import Server
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.linux import sockets
from vtpmd.telemetry.audit import Audit

from .strangers import STRANGER, connect_as, needs_root, open_directory

__all__ = ["open_directory"]


async def answer(request: Request) -> Response:
    match request.target:
        case "/crash":
            raise RuntimeError("a defect with a SECRET")
        case "/refuse":
            raise OperationError(problems.EXISTS, "it is there")
    return Response(200, {"method": request.method, "body": request.body.decode()})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
async def running(path: Path, nursery: trio.Nursery) -> AsyncIterator[Server]:
    instance = Server(answer, None, Audit())
    with sockets.listen(path, mode=0o666) as listener:
        nursery.start_soon(instance.serve, listener)
        yield instance
        nursery.cancel_scope.cancel()


async def exchange(path: Path, request: bytes) -> tuple[int, Any]:
    """Send octets, read to the end, return status and document of the last response."""
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(request)
        received = b""
        while part := await stream.receive_some():
            received += part
    head, _, body = received[received.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def get(target: str, headers: str = "Connection: close\r\n") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()


async def test_a_request_is_answered(running: Server, path: Path) -> None:
    request = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    assert await exchange(path, request) == (200, {"method": "POST", "body": "hi"})


async def test_a_request_may_come_in_pieces_and_another_may_follow(
    running: Server, path: Path
) -> None:
    request = get("/x", "") + get("/refuse")
    async with await trio.open_unix_socket(str(path)) as stream:
        for index in range(len(request)):
            await stream.send_all(request[index : index + 1])
        received = b""
        while part := await stream.receive_some():
            received += part
    assert received.count(b"HTTP/1.1 200") == 1
    assert received.count(b"HTTP/1.1 409") == 1


async def test_refusals_are_problem_documents(running: Server, path: Path) -> None:
    status, document = await exchange(path, get("/refuse"))
    assert status == 409
    assert document == {
        "type": "urn:vtpmd:problem:exists",
        "title": problems.EXISTS.title,
        "status": 409,
        "detail": "it is there",
        "code": "exists",
    }


async def test_a_defect_is_logged_and_not_shown(running: Server, path: Path) -> None:
    with capture_logs() as logs:
        status, document = await exchange(path, get("/crash"))
    assert (status, document["code"]) == (500, "internal")
    assert "SECRET" not in json.dumps(document)
    assert [entry["event"] for entry in logs] == ["request-failed"]
    assert (await exchange(path, get("/x")))[0] == 200


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\x00\x01\x02 nonsense\r\n\r\n", "invalid"),
        (b"GET / HTTP/1.1\r\n\r\n", "invalid"),  # no Host
        (b"GET /" + b"x" * MAX_HEADER + b" HTTP/1.1\r\n", "invalid"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + bytes(270000),
            "too-large",
        ),
    ],
)
async def test_garbage_gets_a_problem_and_hurts_nobody(
    running: Server, path: Path, request_: bytes, code: str
) -> None:
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(request_)
        received = b""
        try:
            while part := await stream.receive_some():
                received += part
        except trio.BrokenResourceError:
            pass  # closed with octets unread
    assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == code
    assert (await exchange(path, get("/x")))[0] == 200


async def test_a_client_that_goes_away_is_forgotten(running: Server, path: Path) -> None:
    for request in (b"", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal"):
        stream = await trio.open_unix_socket(str(path))
        await stream.send_all(request)
        await stream.aclose()
    assert (await exchange(path, get("/x")))[0] == 200


async def test_one_user_cannot_take_all_connections(running: Server, path: Path) -> None:
    streams = [await trio.open_unix_socket(str(path)) for _ in range(CONNECTIONS_PER_USER)]
    await trio.testing.wait_all_tasks_blocked()
    status, document = await exchange(path, get("/x"))
    assert (status, document["code"]) == (503, "busy")
    for stream in streams:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert (await exchange(path, get("/x")))[0] == 200


async def test_an_answer_reaches_who_is_still_writing(running: Server, path: Path) -> None:
    head = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(head + bytes(270_000))
        await stream.send_all(bytes(30_000))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 413")
        assert await stream.receive_some() == b""


async def test_memory_of_bodies_is_given_back(running: Server, path: Path) -> None:
    head = b"POST /crash HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
    with capture_logs():
        for cut in (0, 10):
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(head + bytes(5000 - cut))
                if not cut:
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 500")
            await trio.testing.wait_all_tasks_blocked()
            assert running._bodies.held == 0


@needs_root
async def test_strangers_get_a_403_unheard(nursery: trio.Nursery, open_directory: Path) -> None:
    async def never(_request: Request) -> Response:
        raise AssertionError("a stranger was heard")

    path = open_directory / "admin.sock"
    with sockets.listen(path, mode=0o666) as listener, capture_logs() as logs:
        nursery.start_soon(Server(never, None, Audit()).serve, listener)
        for request in (b"", b"nonsense", get("/x")):
            sock = trio.socket.from_stdlib_socket(connect_as(path, STRANGER))
            stream = trio.SocketStream(sock)
            async with stream:
                if request:
                    await stream.send_all(request)
                received = b"".join([part async for part in stream])
            head, _, body = received.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 403")
            assert json.loads(body)["code"] == "forbidden"
        nursery.cancel_scope.cancel()
    assert {line["event"] for line in logs} <= {"connection-refused", "connections-refused"}


@needs_root
async def test_a_turn_accepts_a_bounded_number(open_directory: Path) -> None:
    """However many strangers wait, others have a turn after each batch of them."""
    path = open_directory / "admin.sock"
    waiting = sockets.BACKLOG
    assert waiting >= 4 * server.BATCH
    with sockets.listen(path, mode=0o666) as listener:
        strangers = [connect_as(path, STRANGER) for _ in range(waiting)]
        async with trio.open_nursery() as nursery:
            audit = Audit(open_directory / "audit")
            nursery.start_soon(Server(answer, None, audit).serve, listener)
            answered = 0
            while answered < waiting:
                await trio.lowlevel.checkpoint()
                now = sum(bool(_peeked(sock)) for sock in strangers)
                # Trio shuffles a turn's tasks: there may be one more turn of the server's between.
                assert now - answered <= 2 * server.BATCH
                answered = now
            nursery.cancel_scope.cancel()
    for sock in strangers:
        sock.close()


def _peeked(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


async def test_a_failing_accept_is_logged_once_and_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who has no file descriptor left does not fill the disk with saying so."""
    with socket.socket() as nobody, capture_logs() as logs:
        nobody.setblocking(False)
        with trio.move_on_after(10):  # accept() fails: nobody listens there
            await Server(answer, None, Audit()).serve(nobody)
    first, counted = logs
    assert (first["event"], first["reason"]) == ("accept-failed", "Invalid argument")
    assert (counted["event"], counted["what"]) == ("repeated", "accept-failed")
    assert counted["count"] > 50
