"""Whatever a server does, a request ends in time with its result or a reason; then it goes on."""

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.kms.kmip.asking import ACTIVE, ASK_STATE, GOOD, failure, open_client
from tests.kms.kmip.conftest import TIMEOUT
from tests.kms.kmip.scripted import (
    BYTES,
    ENUMERATION,
    STRUCTURE,
    TEXT,
    Script,
    ScriptedServer,
    Stream,
    answering,
    batch_item,
    item,
    read_request,
    reply,
    state_reply,
)
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.kmip import operations
from vtpmd.kms.kmip.constants import ResultReason
from vtpmd.kms.kmip.messages import MAX_REPLY, OperationFailedError, Request
from vtpmd.kms.tls import Credentials


async def close_without_answer(stream: Stream) -> None:
    await read_request(stream)


async def hang(stream: Stream) -> None:
    await read_request(stream)
    await trio.sleep_forever()


def sending(data: bytes) -> Script:
    """Answer with these bytes, and wait for the client to close."""

    async def script(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(data)
        await read_request(stream)

    return script


@pytest.mark.parametrize(
    ("script", "reason", "retry"),
    [
        pytest.param(close_without_answer, "closed the connection without an answer", True,
                     id="closed before the answer"),
        pytest.param(answering(GOOD[:5]),
                     "closed the connection after 5 octets of its answer", True,
                     id="closed in the header"),
        pytest.param(answering(GOOD[:-1]),
                     f"closed the connection after {len(GOOD) - 1} octets of its answer", True,
                     id="closed one octet too early"),
        pytest.param(sending(GOOD[:4] + (MAX_REPLY + 1).to_bytes(4)),
                     "gave no valid answer: the reply would have 1048577 octets, 1048576 are "
                     "permitted", False, id="oversized"),
        pytest.param(sending(GOOD[:4] + b"\xff\xff\xff\xff"),
                     "gave no valid answer: the reply would have 4294967295 octets, 1048576 are "
                     "permitted", False, id="as large as can be"),
        pytest.param(sending(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                     "gave no valid answer: the reply begins with 48545450", False, id="HTTP"),
        pytest.param(answering(GOOD[:4] + b"\0\0\0\x08" + bytes(8)),
                     "gave no valid answer: item 000000 has an unknown type 0", False,
                     id="no TTLV"),
        pytest.param(answering(reply(batch_item(0x0B), version=(1, 2))),
                     "gave no valid answer: the reply is in KMIP 1.2, 1.4 is needed", False,
                     id="older version"),
        pytest.param(answering(reply(batch_item(0x0B), version=(2, 0))),
                     "gave no valid answer: the reply is in KMIP 2.0, 1.4 is needed", False,
                     id="newer version"),
        pytest.param(answering(reply(batch_item(0x0A))),
                     "gave no valid answer: the reply is to another operation than Get Attributes",
                     False, id="another operation"),
        pytest.param(answering(reply(batch_item(0x0B), count=2)),
                     "gave no valid answer: the reply is to more than one operation", False,
                     id="two operations"),
        pytest.param(answering(reply(batch_item(0x0B), batch_item(0x0B))),
                     "gave no valid answer: item 42000f appears 2 times in 42007b", False,
                     id="two batch items"),
        pytest.param(answering(reply()),
                     "gave no valid answer: item 42000f is missing in 42007b", False,
                     id="no batch item"),
        pytest.param(answering(reply(item(0x0F, STRUCTURE, item(0x7F, ENUMERATION, 0)))),
                     "gave no valid answer: item 42005c is missing in 42000f", False,
                     id="empty batch item"),
        pytest.param(answering(reply(batch_item(0x0B, status=2))),
                     "gave no valid answer: it wants to answer Get Attributes later, which was not "
                     "asked for", False, id="pending"),
        pytest.param(answering(reply(batch_item(0x0B, status=1))),
                     "gave no valid answer: item 42007e is missing in 42000f", False,
                     id="failed without a reason"),
        pytest.param(answering(reply(batch_item(0x0B, item(0x94, TEXT, "1")))),
                     "gave no valid answer: it gives 0 states of a key", False, id="no state"),
        pytest.param(answering(state_reply(key="2")),
                     "gave no valid answer: it answers with another key than the one asked for",
                     False, id="another key"),
        pytest.param(answering(state_reply(state=99)),
                     "gave no valid answer: it gives an unknown state of a key: 99", False,
                     id="unknown state"),
    ],
)  # fmt: skip
async def test_broken_answers_are_told_and_the_next_request_goes_through(
    fault_server: ScriptedServer, credentials: Credentials, script: Script, reason: str, retry: bool
) -> None:
    client = open_client(fault_server.port, credentials)
    fault_server.script = script
    error = await failure(client)
    assert (error.reason, error.retry) == (reason, retry)
    fault_server.script = answering(GOOD)
    assert await client.call(ASK_STATE) == ACTIVE
    assert fault_server.connections == 2, "a connection with a broken answer was used again"


def key_reply(key: str = "1", form: int = 1, size: int = 32) -> bytes:
    value = item(0x45, STRUCTURE, item(0x43, BYTES, bytes(size)))
    block = item(0x40, STRUCTURE, item(0x42, ENUMERATION, form), value)
    fields = [item(0x57, ENUMERATION, 2), item(0x94, TEXT, key), item(0x8F, STRUCTURE, block)]
    return reply(batch_item(0x0A, *fields))


def cipher_reply(operation: int, *sizes: int, key: str = "1") -> bytes:
    fields = [item(tag, BYTES, bytes(size)) for tag, size in zip((0xC2, 0xFF), sizes, strict=False)]
    return reply(batch_item(operation, item(0x94, TEXT, key), *fields))


ENCRYPT = operations.encrypt("1", bytes(32), bytes(12), b"")
DECRYPT = operations.decrypt("1", bytes(48), bytes(12), b"")


@pytest.mark.parametrize(
    ("request_", "answer", "reason"),
    [
        (operations.get("1"), key_reply(key="2"), "it answers with another key"),
        (operations.get("1"), key_reply(form=2), "it gives a key in format 2, not raw"),
        (operations.get("1"), key_reply(size=16), "it gives a key of 16 octets, not 32"),
        (ENCRYPT, cipher_reply(0x1F, 32, 16, key="2"), "it answers with another key"),
        (ENCRYPT, cipher_reply(0x1F, 48), "item 4200ff is missing"),
        (ENCRYPT, cipher_reply(0x1F, 31, 16), "it gives 31 octets of ciphertext and 16 of tag"),
        (ENCRYPT, cipher_reply(0x1F, 32, 12), "it gives 32 octets of ciphertext and 12 of tag"),
        (DECRYPT, cipher_reply(0x20, 31), "it gives 31 octets of plaintext, not 32"),
        (DECRYPT, cipher_reply(0x20, 32, key="2"), "it answers with another key"),
        (operations.create("n", False), reply(batch_item(1)), "item 420094 is missing in 42007c"),
        (operations.create("n", False), reply(batch_item(1, item(0x94, TEXT, ""))),
         "it gives a key's identifier of 0 characters"),
        (operations.locate("n"), reply(batch_item(8, item(0x94, TEXT, "x" * 257))),
         "it gives a key's identifier of 257 characters"),
    ],
)  # fmt: skip
async def test_results_that_were_not_asked_for_are_not_used(
    fault_server: ScriptedServer,
    credentials: Credentials,
    request_: Request[Any],
    answer: bytes,
    reason: str,
) -> None:
    fault_server.script = answering(answer)
    error = await failure(open_client(fault_server.port, credentials), request_)
    assert error.reason.startswith(f"gave no valid answer: {reason}")
    assert not error.retry


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        (0x0C, "no", "Permission Denied: no"),
        (0x01, None, "Item Not Found"),
        (0x4242, "own", "reason 0x4242: own"),
        (0x100, "a\n\x1b[31mb" + "c" * 400, f"General Failure: a  [31mb{'c' * 292}…"),
    ],
)
async def test_refusals_are_told_in_the_words_of_the_server(
    fault_server: ScriptedServer,
    credentials: Credentials,
    reason: int,
    message: str | None,
    words: str,
) -> None:
    refusal = reply(batch_item(0x0B, status=1, reason=reason, message=message))
    fault_server.script = answering(refusal, GOOD)
    client = open_client(fault_server.port, credentials)
    with pytest.raises(OperationFailedError) as caught:
        await client.call(ASK_STATE)
    assert str(caught.value) == f"refuses Get Attributes: {words}"
    assert caught.value.reason == ResultReason(reason) if reason != 0x4242 else reason
    assert await client.call(ASK_STATE) == ACTIVE
    assert fault_server.connections == 1, "a refusal is no reason to leave"


async def test_an_answer_in_single_bytes_is_put_together(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    async def script(stream: Stream) -> None:
        await read_request(stream)
        for octet in GOOD:
            await stream.send_all(bytes([octet]))

    fault_server.script = script
    assert await open_client(fault_server.port, credentials).call(ASK_STATE) == ACTIVE


async def test_a_large_answer_is_read_up_to_the_limit(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    padding = item(0xB0, BYTES, bytes(MAX_REPLY - 200))
    attribute = item(0x08, STRUCTURE, item(0x0A, TEXT, "State"), item(0x0B, ENUMERATION, 2))
    fault_server.script = answering(
        reply(batch_item(0x0B, item(0x94, TEXT, "1"), padding, attribute))
    )
    assert await open_client(fault_server.port, credentials).call(ASK_STATE) == ACTIVE


async def test_a_server_that_hangs_is_given_up_in_time(
    fault_server: ScriptedServer, credentials: Credentials, mock_clock: MockClock
) -> None:
    """After the request, in the middle of the answer, and before TLS begins."""
    waiting = trio.Event()

    async def silent(stream: Stream) -> None:
        waiting.set()
        await trio.sleep_forever()

    async def after_request(stream: Stream) -> None:
        await read_request(stream)
        await silent(stream)

    async def in_answer(stream: Stream) -> None:
        await read_request(stream)
        await stream.send_all(GOOD[:20])
        await silent(stream)

    for script in (silent, after_request, in_answer):
        waiting = trio.Event()
        fault_server.script = script
        async with trio.open_nursery() as nursery:
            errors: list[KeyUnavailableError] = []

            async def ask(errors: list[KeyUnavailableError] = errors) -> None:
                errors.append(await failure(open_client(fault_server.port, credentials)))

            nursery.start_soon(ask)
            await waiting.wait()
            mock_clock.jump(TIMEOUT - 0.1)
            await trio.testing.wait_all_tasks_blocked()
            assert not errors
            mock_clock.jump(0.2)
        assert errors[0].retry
        assert errors[0].reason == f"did not answer Get Attributes within {TIMEOUT:g} s"


async def test_a_server_that_is_not_there_is_told(credentials: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = await failure(open_client(port, credentials))
    assert error.retry
    assert error.reason == "cannot be reached: Connection refused"


async def test_a_name_that_is_unknown_is_told(credentials: Credentials) -> None:
    class Unknown(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *arguments: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Unknown())
    error = await failure(open_client(5696, credentials, host="kms.example"))
    assert error.retry
    assert error.reason == "cannot be reached: Name or service not known"


async def test_a_connection_is_kept_open(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    fault_server.script = answering(*[GOOD] * 10)
    client = open_client(fault_server.port, credentials)
    for _ in range(10):
        await client.call(ASK_STATE)
    assert fault_server.connections == 1


async def test_a_connection_that_went_stale_is_replaced(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    fault_server.script = answering(GOOD)  # and close
    client = open_client(fault_server.port, credentials)
    for _ in range(3):
        assert await client.call(ASK_STATE) == ACTIVE
    assert fault_server.connections == 3


async def test_what_must_not_be_done_twice_is_not_sent_twice(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    created = 0

    async def script(stream: Stream) -> None:
        nonlocal created
        await read_request(stream)
        await stream.send_all(GOOD)
        created += bool(await read_request(stream))

    fault_server.script = script
    client = open_client(fault_server.port, credentials)
    await client.call(ASK_STATE)
    error = await failure(client, operations.create("name", False))
    assert error.retry
    assert (created, fault_server.connections) == (1, 1)


async def test_few_connections_serve_many_requests(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    fault_server.script = answering(*[GOOD] * 40)
    client = open_client(fault_server.port, credentials)
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(client.call, ASK_STATE)
    assert fault_server.connections <= 4


async def test_a_cancelled_request_leaves_nothing_behind(
    fault_server: ScriptedServer, credentials: Credentials
) -> None:
    asked = trio.Event()

    async def script(stream: Stream) -> None:
        await read_request(stream)
        asked.set()
        await stream.send_all(state_reply(state=3))

    fault_server.script = script
    client = open_client(fault_server.port, credentials)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.call, ASK_STATE)
        await asked.wait()
        nursery.cancel_scope.cancel()
    fault_server.script = answering(GOOD)
    assert await client.call(ASK_STATE) == ACTIVE, "the answer to another request"


async def test_a_server_that_hangs_is_left_alone_and_tried_again(
    fault_server: ScriptedServer, credentials: Credentials, mock_clock: MockClock
) -> None:
    client = open_client(fault_server.port, credentials)
    reached = trio.Event()
    under_way = 0

    async def script(stream: Stream) -> None:
        nonlocal under_way
        await read_request(stream)
        under_way += 1
        if under_way == 4:
            reached.set()
        await trio.sleep_forever()

    fault_server.script = script
    reasons: list[str] = []

    async def ask() -> None:
        reasons.append((await failure(client)).reason)

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
        await reached.wait()
        mock_clock.jump(TIMEOUT + 0.1)
    # Four had a connection and waited; nobody else waited for a time-out of their own.
    assert sum("did not answer" in reason.partition(";")[0] for reason in reasons) == 4
    assert sum("in a row and is tried again in" in reason for reason in reasons) == 96
    assert fault_server.connections == 4
    fault_server.script = answering(GOOD, GOOD)
    mock_clock.jump(5.1)
    assert await client.call(ASK_STATE) == ACTIVE
    assert await client.call(ASK_STATE) == ACTIVE
