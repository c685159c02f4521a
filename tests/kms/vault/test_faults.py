"""A Vault server that fails in every way a test can write down, and its clock."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from tests.kms.certificates import Authority
from tests.kms.fault_server import HANG, FaultServer, answer
from tests.kms.reasons import reason
from tests.kms.server_process import free_port
from tests.kms.vault.conftest import Opener
from vtpmd.kms.provider import KeyContext
from vtpmd.kms.vault.provider import VaultProvider
from vtpmd.storage.slot import Slot

CONTEXT = KeyContext(UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), bytes(range(16)))
TOKEN = "s.tEsTtOkEn"
SLOT = Slot(
    provider_type="vault",
    provider="vault1",
    key_ref="vtpmd",
    key_version="1",
    algorithm="transit-context",
    wrapped=b"vault:v1:" + b"AAAA" * 20,
    created=0,
)
DEK = b"0123456789abcdef" * 2
OPENED = answer(200, {"data": {"plaintext": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}})
DENIED = answer(403, {"errors": ["permission denied"]})


def lookup(ttl: int = 0, renewable: bool = False) -> bytes:
    return answer(200, {"data": {"ttl": ttl, "renewable": renewable}})


def lease(seconds: int, token: str = TOKEN, renewable: bool = True) -> bytes:
    auth = {"client_token": token, "lease_duration": seconds, "renewable": renewable}
    return answer(200, {"auth": auth})


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    return path


async def serving(nursery: trio.Nursery, authority: Authority, *answers: bytes) -> FaultServer:
    server = FaultServer(list(answers))
    await server.start(nursery, authority.server("localhost"))
    return server


@pytest.fixture
def connected(opened: Opener, token_file: Path) -> Any:
    def connect(url: str, **more: Any) -> VaultProvider:
        auth = {"method": "token", "token_file": str(token_file)}
        return opened(url=url, auth=auth, key_name="vtpmd", **more)

    return connect


FAULTS = {
    "no JSON": (answer(200, b"<html>"), False, "gave no valid answer: it is not a JSON object"),
    "no object": (answer(200, b"[]"), False, "gave no valid answer: it is not a JSON object"),
    "deep": (answer(200, b"[" * 100_000), False, "it is not a JSON object"),
    "no text": (answer(200, b"\xff\xfe"), False, "it is not a JSON object"),
    "no data": (answer(200, {}), False, "gave no valid answer: there is no plaintext in it"),
    "odd data": (answer(200, {"data": []}), False, "its data are no object"),
    "no base64": (answer(200, {"data": {"plaintext": "?"}}), False, "no plaintext in it"),
    "no string": (answer(200, {"data": {"plaintext": 5}}), False, "no plaintext in it"),
    "endless": (answer(200, b" " * (2 << 20)), False, "answers more than 1048576 bytes"),
    "truncated": (answer(200, b"x" * 99, missing=9), True, "broke off"),
    "cut head": (b"HTTP/1.1 200 O", True, "broke off"),
    "closed": (b"", True, "broke off"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", True, "broke off, or does not speak HTTP"),
    "busy": (answer(429), True, "wants to be asked again later"),
    "busy for": (answer(429, headers={"Retry-After": "7"}), True, "wants to be asked again in 7 s"),
    "busy for days": (answer(429, headers={"Retry-After": "999999"}), True, "again in 60 s"),
    "busy until": (answer(429, headers={"Retry-After": "Mon, 1 J"}), True, "again later"),
    "no leader": (
        answer(500, {"errors": ["local node not active\n\t* but\x1b[31m active"]}),
        True,
        "is in trouble: but [31m active",
    ),
    "bad gateway": (answer(502, b"<html>"), True, "is in trouble: HTTP status 502"),
    "sealed": (answer(503, {"errors": ["Vault is sealed"]}), True, "is sealed: unseal it"),
    "overload": (answer(503), True, "is in trouble: HTTP status 503"),
    "gone": (answer(410), False, "does not decrypt with key vtpmd in transit: HTTP status 410"),
    "redirect": (
        answer(307, headers={"Location": "https://evil.example/"}),
        True,
        "redirects to https://evil.example/, which is not followed",
    ),
}


@pytest.mark.parametrize(("said", "retry", "words"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_is_told(
    nursery: trio.Nursery,
    authority: Authority,
    connected: Any,
    said: bytes,
    retry: bool,
    words: str,
) -> None:
    server = await serving(nursery, authority, lookup(), said)
    why = await reason(connected(server.url).unwrap(SLOT, CONTEXT), retry)
    assert why.startswith(f"the Vault server {server.url} ")
    assert words in why
    assert TOKEN not in why
    assert len(server.asked) == 2


async def test_what_is_sent(nursery: trio.Nursery, authority: Authority, connected: Any) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    assert await connected(server.url, namespace="team").unwrap(SLOT, CONTEXT) == DEK
    _, asked = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/transit/decrypt/vtpmd")
    assert asked.headers["x-vault-token"] == TOKEN
    assert asked.headers["x-vault-namespace"] == "team"
    assert asked.json()["ciphertext"] == SLOT.wrapped.decode()


async def test_refused_connection_is_told(connected: Any) -> None:
    provider = connected(f"https://localhost:{free_port()}")
    assert "cannot be reached: Connection refused" in await reason(
        provider.unwrap(SLOT, CONTEXT), retry=True
    )


@pytest.mark.parametrize("answers", [[HANG], [lookup(), HANG]], ids=["login", "request"])
async def test_hanging_server_is_given_up(
    nursery: trio.Nursery,
    authority: Authority,
    connected: Any,
    mock_clock: MockClock,
    answers: list[bytes],
) -> None:
    server = await serving(nursery, authority, *answers)
    provider = connected(server.url, timeout=5)

    async def time_passes() -> None:
        await server.hanging.wait()
        mock_clock.jump(5.1)

    nursery.start_soon(time_passes)
    why = await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert why.endswith("did not answer within 5 s")


async def test_cancelled_request_leaves_the_provider_usable(
    nursery: trio.Nursery, authority: Authority, connected: Any, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, lookup(), HANG, OPENED)
    provider = connected(server.url)
    with trio.CancelScope() as scope:

        async def cancel() -> None:
            await server.hanging.wait()
            scope.cancel()

        nursery.start_soon(cancel)
        await provider.unwrap(SLOT, CONTEXT)
    assert scope.cancelled_caught
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


async def test_server_that_never_answers_is_left_alone(
    nursery: trio.Nursery, authority: Authority, connected: Any, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, lookup(), *[answer(500)] * 3, OPENED)
    provider = connected(server.url)
    for _ in range(3):
        await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert "failed 3 times in a row" in await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert len(server.asked) == 4
    mock_clock.jump(5.1)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


async def test_wait_that_was_asked_for_is_kept(
    nursery: trio.Nursery, authority: Authority, connected: Any, mock_clock: MockClock
) -> None:
    busy = answer(429, headers={"Retry-After": "7"})
    server = await serving(nursery, authority, lookup(), busy, OPENED)
    provider = connected(server.url)
    await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    mock_clock.jump(4)
    why = await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert "wants to be asked again in 3 s" in why
    assert len(server.asked) == 2
    mock_clock.jump(3.1)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


@pytest.mark.parametrize("wrong", ["host", "authority"])
async def test_wrong_certificate_is_told(
    nursery: trio.Nursery, authority: Authority, connected: Any, tmp_path: Path, wrong: str
) -> None:
    server = FaultServer([lookup()])
    pair = (
        authority.server("elsewhere.example")
        if wrong == "host"
        else Authority(tmp_path).server("localhost")
    )
    await server.start(nursery, pair)
    why = await reason(connected(server.url).unwrap(SLOT, CONTEXT))
    assert "has a certificate that is refused: " in why
    assert server.asked == []


async def test_redirection_is_not_followed(
    nursery: trio.Nursery, authority: Authority, connected: Any
) -> None:
    other = await serving(nursery, authority, OPENED)
    there = answer(307, headers={"Location": f"{other.url}/v1/transit/decrypt/vtpmd"})
    server = await serving(nursery, authority, lookup(), there)
    await reason(connected(server.url).unwrap(SLOT, CONTEXT), retry=True)
    assert other.asked == []


async def test_proxy_of_the_environment_is_not_used(
    nursery: trio.Nursery,
    authority: Authority,
    connected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{free_port()}")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    server = await serving(nursery, authority, lookup(), OPENED)
    assert await connected(server.url).unwrap(SLOT, CONTEXT) == DEK


async def test_authority_that_cannot_be_read_is_told(connected: Any, tmp_path: Path) -> None:
    provider = connected("https://localhost:1", ca=str(tmp_path / "absent.pem"))
    why = await reason(provider.check())
    assert "cannot be asked: cannot read" in why
    assert "absent.pem: No such file" in why


def paths(server: FaultServer) -> list[str]:
    found = [asked.path.removeprefix("/v1/") for asked in server.asked]
    server.asked.clear()
    return found


DECRYPT, RENEW = "transit/decrypt/vtpmd", "auth/token/renew-self"
LOGIN = "auth/token/lookup-self"


async def test_token_is_renewed_in_time(
    nursery: trio.Nursery, authority: Authority, connected: Any, mock_clock: MockClock
) -> None:
    answers = [lookup(30, True), OPENED, OPENED, lease(30), OPENED, OPENED]
    server = await serving(nursery, authority, *answers)
    provider = connected(server.url)
    for seconds, expected in (
        (0, [LOGIN, DECRYPT]),
        (19, [DECRYPT]),
        (2, [RENEW, DECRYPT]),
        (19, [DECRYPT]),
    ):
        mock_clock.jump(seconds)
        assert await provider.unwrap(SLOT, CONTEXT) == DEK
        assert paths(server) == expected


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(lookup(30), [], id="not renewable"),
        pytest.param(lookup(30, True), [DENIED], id="refused"),
        pytest.param(lookup(30, True), [lease(7)], id="maximum reached"),
    ],
)
async def test_token_that_cannot_be_renewed_is_replaced(
    nursery: trio.Nursery,
    authority: Authority,
    connected: Any,
    mock_clock: MockClock,
    first: bytes,
    then: list[bytes],
) -> None:
    server = await serving(nursery, authority, first, OPENED, *then, lookup(30), OPENED)
    provider = connected(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    paths(server)
    mock_clock.jump(21)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK
    assert paths(server) == [*([RENEW] if then else []), LOGIN, DECRYPT]


async def test_token_without_end_is_not_renewed(
    nursery: trio.Nursery, authority: Authority, connected: Any, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    provider = connected(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    mock_clock.jump(1e9)
    await provider.unwrap(SLOT, CONTEXT)
    assert paths(server) == [LOGIN, DECRYPT, DECRYPT]


@pytest.mark.parametrize("said", [{}, {"data": {}}, {"data": None}, {"data": {"ttl": "1h"}}])
async def test_login_without_a_token_is_told(
    nursery: trio.Nursery, authority: Authority, connected: Any, said: Mapping[str, Any]
) -> None:
    server = await serving(nursery, authority, answer(200, said))
    assert "there is no token in it" in await reason(connected(server.url).check())


@pytest.mark.parametrize(
    "facts", [None, {}, {"type": "aes256-gcm96"}, {"type": 1, "derived": 1, "latest_version": "1"}]
)
async def test_key_that_is_not_described_is_told(
    nursery: trio.Nursery, authority: Authority, connected: Any, facts: object
) -> None:
    server = await serving(nursery, authority, lookup(), answer(200, {"data": facts}))
    assert "it does not describe a key" in await reason(connected(server.url).check())


async def test_no_secret_shows(nursery: trio.Nursery, authority: Authority, connected: Any) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    provider = connected(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    session = vars(provider)["_session"]
    shown = repr(provider) + repr(vars(session)) + json.dumps(repr(vars(vars(session)["_server"])))
    assert TOKEN not in shown
