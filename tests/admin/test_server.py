"""The admin socket under good clients, bad clients and strangers: over a real Unix socket."""

import grp
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from vtpmd.admin import server
from vtpmd.admin.server import Request, Response, Server, administrators
from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.linux import sockets
from vtpmd.linux.peers import Peer
from vtpmd.telemetry.audit import Audit

STRANGER = 54321


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
        (b"GET /" + b"x" * server.MAX_HEADER + b" HTTP/1.1\r\n", "invalid"),
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


@pytest.mark.parametrize(
    ("beginning", "answered"), [(b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408"), (b"", b"")]
)
async def test_a_slow_client_is_cut_off(
    autojump_clock: trio.testing.MockClock, beginning: bytes, answered: bytes
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(beginning)
    conversation = server.Conversation(ours, Peer(1, 0, frozenset()))
    if not answered:
        assert await conversation.request(0) is None
        assert trio.current_time() >= server.REQUEST_TIMEOUT
        return
    with pytest.raises(OperationError) as refused:
        await conversation.request(0)
    assert refused.value.problem is problems.TIMEOUT
    assert not await conversation.respond(server.problem_response(problems.TIMEOUT, "late"))
    assert (await theirs.receive_some()).startswith(answered)


async def test_one_user_cannot_take_all_connections(running: Server, path: Path) -> None:
    streams = [await trio.open_unix_socket(str(path)) for _ in range(server.CONNECTIONS_PER_USER)]
    await trio.testing.wait_all_tasks_blocked()
    surplus = await trio.open_unix_socket(str(path))
    with trio.fail_after(server.REQUEST_TIMEOUT / 2):  # idle ones are closed later
        assert await surplus.receive_some() == b""
    await surplus.aclose()
    for stream in streams:
        await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert (await exchange(path, get("/x")))[0] == 200


def test_only_root_the_daemon_and_the_admin_group_are_admins() -> None:
    group = grp.getgrall()[-1]
    member = Peer(1, STRANGER, frozenset({STRANGER, group.gr_gid}))
    stranger = Peer(1, STRANGER, frozenset({STRANGER}))
    for wanted in (None, group.gr_name, "no-such-group-here"):
        assert administrators(wanted).permits(Peer(1, 0, frozenset({0})))
        assert administrators(wanted).permits(Peer(1, os.geteuid(), frozenset()))
        assert not administrators(wanted).permits(stranger)
        assert administrators(wanted).permits(member) is (wanted == group.gr_name)


@pytest.mark.parametrize(
    ("uid", "size", "code"),
    [
        (os.geteuid(), names.MAX_BUNDLE, None),
        (os.geteuid(), names.MAX_BUNDLE + 1, "too-large"),
        (STRANGER, server.MAX_BODY, "forbidden"),
        (STRANGER, server.MAX_BODY + 1, "too-large"),
    ],
)
async def test_only_administrators_may_send_a_bundle(uid: int, size: int, code: str | None) -> None:
    """What a stranger sends is held in memory only up to the size of other requests."""
    ours, theirs = trio.testing.memory_stream_pair()
    head = f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nConnection: close\r\n"
    media_type = f"Content-Type: {names.BUNDLE_MEDIA_TYPE}\r\n\r\n"
    await theirs.send_all((head + media_type).encode() + b"x" * size)
    peer = Peer(1, uid, frozenset())
    await Server(answer, None, Audit()).converse(server.Conversation(ours, peer), peer)
    await ours.aclose()
    received = b""
    while part := await theirs.receive_some():
        received += part
    document = json.loads(received.partition(b"\r\n\r\n")[2])
    assert document.get("code") == code


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_strangers_get_a_403(nursery: trio.Nursery) -> None:
    code = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(b'GET /x HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n');"
        "print(s.recv(65536).decode())"
    )
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        path = Path(directory) / "admin.sock"
        with sockets.listen(path, mode=0o666) as listener:
            nursery.start_soon(Server(answer, None, Audit()).serve, listener)
            result = await trio.run_process(
                ["/usr/bin/env", "python3", "-c", code, str(path)],
                capture_stdout=True,
                user=65534,
                group=65534,
                extra_groups=[],
                env={"PATH": os.environ["PATH"]},
                check=False,
            )
            nursery.cancel_scope.cancel()
    assert result.stdout.startswith(b"HTTP/1.1 403")
    assert b'"code": "forbidden"' in result.stdout
