"""The loopback port: metrics and nothing else, to several at once."""

import trio
import trio.testing

from vtpmd.admin import metrics_port
from vtpmd.telemetry.metrics import MEDIA_TYPE

TEXT = b"vtpmd_workers 1.0\n"


async def metrics() -> bytes:
    return TEXT


async def asked(port: int, request: str) -> bytes:
    async with await trio.open_tcp_stream(metrics_port.HOST, port) as stream:
        await stream.send_all(
            f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        received = b""
        while part := await stream.receive_some():
            received += part
    return received


async def test_only_metrics_are_there(nursery: trio.Nursery) -> None:
    listener = await metrics_port.listen(0)
    host, port, *_ = listener.socket.getsockname()
    assert host == "127.0.0.1"
    nursery.start_soon(metrics_port.serve, listener, metrics)
    head, _, body = (await asked(port, "GET /metrics")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"Content-Type: {MEDIA_TYPE}".encode() in head
    assert body == TEXT
    for request in ("GET /v1/instances", "POST /metrics", "GET /metrics?x=1"):
        assert (await asked(port, request)).startswith(b"HTTP/1.1 404 ")
    assert (await asked(port, "nonsense")).startswith(b"HTTP/1.1 400 ")
    nursery.cancel_scope.cancel()


async def test_a_client_that_says_nothing_holds_up_nobody(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    listener = await metrics_port.listen(0)
    port = listener.socket.getsockname()[1]
    nursery.start_soon(metrics_port.serve, listener, metrics)
    silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(metrics_port.MOST)]
    with trio.fail_after(60):
        assert (await asked(port, "GET /metrics")).endswith(TEXT)
    for stream in silent:
        await stream.aclose()
    nursery.cancel_scope.cancel()


async def test_many_connections_take_few_descriptors(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    listener = await metrics_port.listen(0)
    port = listener.socket.getsockname()[1]
    nursery.start_soon(metrics_port.serve, listener, metrics)
    most = metrics_port.MOST + metrics_port.WAITING
    silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(most)]
    await trio.testing.wait_all_tasks_blocked()
    async with await trio.open_tcp_stream("127.0.0.1", port) as further:
        with trio.fail_after(1):
            assert await further.receive_some() == b""
    for stream in silent:
        await stream.aclose()
    with trio.fail_after(60):
        assert (await asked(port, "GET /metrics")).endswith(TEXT)
    nursery.cancel_scope.cancel()
