"""One connection's HTTP: sizes, slowness, and memory that all of them share."""

import json

import pytest
import trio
import trio.testing

from vtpmd import __version__
from vtpmd.admin import conversation
from vtpmd.admin.conversation import Conversation, last_answer, problem_response
from vtpmd.admin.quota import Quota
from vtpmd.api import names, problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer

from .strangers import STRANGER

ADMINISTRATOR = Peer(1, STRANGER, frozenset())


def bodies(total: int = 2 * names.MAX_BUNDLE) -> Quota:
    return Quota(total, total)


def post(size: int, media_type: str = names.BUNDLE_MEDIA_TYPE) -> bytes:
    head = f"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\nContent-Type: {media_type}"
    return f"{head}\r\n\r\n".encode() + b"x" * size


@pytest.mark.parametrize(
    ("beginning", "answered"), [(b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408"), (b"", b"")]
)
async def test_a_slow_client_is_cut_off(
    autojump_clock: trio.testing.MockClock, beginning: bytes, answered: bytes
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(beginning)
    talk = Conversation(ours, ADMINISTRATOR, bodies())
    if not answered:
        assert await talk.request() is None
        assert trio.current_time() >= conversation.REQUEST_TIMEOUT
        return
    with pytest.raises(OperationError) as refused:
        await talk.request()
    assert refused.value.problem is problems.TIMEOUT
    assert not await talk.respond(problem_response(refused.value))
    assert (await theirs.receive_some()).startswith(answered)


@pytest.mark.parametrize(
    ("media_type", "limit"),
    [
        (names.BUNDLE_MEDIA_TYPE, names.MAX_BUNDLE),
        ("application/json", conversation.MAX_BODY),
    ],
)
async def test_bodies_have_a_largest_size(media_type: str, limit: int) -> None:
    for size in (limit, limit + 1):
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(post(size, media_type))
        talk = Conversation(ours, ADMINISTRATOR, bodies())
        if size == limit:
            request = await talk.request()
            assert request is not None
            assert len(request.body) == limit
            continue
        with pytest.raises(OperationError) as refused:
            await talk.request()
        assert refused.value.problem is problems.TOO_LARGE
        assert talk.is_cut_short


async def test_bodies_share_a_limit_and_are_counted_as_they_arrive() -> None:
    shared = bodies(100_000)
    first, second = (trio.testing.memory_stream_pair() for _ in range(2))
    one = Conversation(first[0], ADMINISTRATOR, shared)
    other = Conversation(second[0], ADMINISTRATOR, shared)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.request)
        await first[1].send_all(post(100_000)[:-40_000])
        await trio.testing.wait_all_tasks_blocked()
        arrived = shared.held
        assert arrived == 60_000
        await second[1].send_all(post(90_000))
        with pytest.raises(OperationError) as refused:
            await other.request()
        assert refused.value.problem is problems.BUSY
        assert shared.held <= 100_000
        other.release()
        assert shared.held == arrived
        await first[1].send_all(b"x" * 40_000)
    assert shared.held == 100_000
    one.release()
    assert shared.held == 0


@pytest.mark.parametrize("problem", [problems.FORBIDDEN, problems.BUSY])
def test_the_last_answer_is_whole(problem: problems.Problem) -> None:
    head, _, body = last_answer(problem, "Ä reason.").partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ") for line in lines)
    assert first == f"HTTP/1.1 {problem.status} "
    assert fields == {
        "Connection": "close",
        "Server": f"vtpmd/{__version__}",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Content-Type": names.PROBLEM_MEDIA_TYPE,
    } | ({"Retry-After": "1"} if problem is problems.BUSY else {})
    document = json.loads(body)
    assert (document["code"], document["detail"]) == (problem.code, "Ä reason.")


async def test_lines_are_sent_as_they_come() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(post(0))
    talk = Conversation(ours, ADMINISTRATOR, bodies())
    await talk.request()
    more = trio.Event()

    async def work(put: conversation.Put) -> None:
        put(b"one\n")
        await more.wait()
        put(b"two\n")

    async def respond() -> None:
        assert await talk.respond(conversation.Response(200, media_type="x/y", work=work))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(respond)
        received = b""
        while b"one" not in received:
            received += await theirs.receive_some()
        assert b"two" not in received
        assert b"content-length" not in received.lower()
        assert b"content-type: x/y" in received.lower()
        more.set()
    while not received.endswith(b"0\r\n\r\n"):
        received += await theirs.receive_some()
    assert received.endswith(b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n")


async def test_work_goes_on_when_nobody_reads_of_it() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(post(0))
    talk = Conversation(ours, ADMINISTRATOR, bodies())
    await talk.request()
    await theirs.aclose()
    done = []

    async def work(put: conversation.Put) -> None:
        for number in range(3):
            put(b"line\n")
            await trio.testing.wait_all_tasks_blocked()
            done.append(number)

    assert not await talk.respond(conversation.Response(200, work=work))
    assert done == [0, 1, 2]
