"""The end of a connection: the answer reaches those who are still writing."""

import socket

import pytest
import trio
import trio.testing

from vtpmd.admin import farewell
from vtpmd.admin.farewell import Farewell

ANSWER = b"HTTP/1.1 403 \r\n\r\n"
USER = 54321


def write_then_read(sock: socket.socket, size: int) -> tuple[int, bytes]:
    """What could be written of so many octets, and the answer."""
    sock.settimeout(60)
    written = 0
    try:
        while written < size:
            written += sock.send(bytes(min(4096, size - written)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    answer = b""
    try:
        while part := sock.recv(4096):
            answer += part
    except ConnectionResetError:
        pass
    return written, answer


@pytest.mark.parametrize("size", [0, 1, farewell.DRAINED, 64 * farewell.DRAINED])
@pytest.mark.parametrize("lingers", [True, False])
async def test_the_answer_is_read_after_writing(size: int, lingers: bool) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with trio.open_nursery() as nursery:
            leaving = Farewell(nursery)
            if not lingers:
                while leaving._lingering.take(USER):
                    pass
            leaving.dismiss(ours, USER, ANSWER)
            written, answer = await trio.to_thread.run_sync(write_then_read, theirs, size)
            assert answer == ANSWER
            assert lingers or not written
            assert written < size or size <= farewell.DRAINED
            if lingers and size <= farewell.DRAINED:
                assert written == size
            theirs.close()
        assert ours.fileno() == -1


async def test_the_end_of_the_answer_is_seen_at_once(nursery: trio.Nursery) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        Farewell(nursery).dismiss(ours, USER, ANSWER)
        theirs.setblocking(False)
        assert theirs.recv(4096) == ANSWER
        assert theirs.recv(4096) == b""
        assert ours.fileno() != -1


async def test_who_neither_writes_nor_closes_is_cut_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        async with trio.open_nursery() as nursery:
            Farewell(nursery).dismiss(ours, USER, ANSWER)
        assert trio.current_time() == pytest.approx(farewell.LINGER)
        assert ours.fileno() == -1


async def test_few_may_linger_and_all_are_answered() -> None:
    pairs = [socket.socketpair() for _ in range(100)]
    async with trio.open_nursery() as nursery:
        leaving = Farewell(nursery)
        for index, (ours, _) in enumerate(pairs):
            leaving.dismiss(ours, USER + index % 2, ANSWER)
        open_ = sum(ours.fileno() != -1 for ours, _ in pairs)
        assert open_ == 2 * farewell.LINGERING_PER_USER
        for _, theirs in pairs:
            assert theirs.recv(4096) == ANSWER
            theirs.close()
    assert all(ours.fileno() == -1 for ours, _ in pairs)
    assert leaving._lingering.held == 0


async def test_who_has_gone_already_is_forgotten(nursery: trio.Nursery) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    Farewell(nursery).dismiss(ours, USER, ANSWER)
    assert ours.fileno() == -1
