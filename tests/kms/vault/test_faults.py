"""A Vault server that fails in every way a test can write down, and its clock."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio
from trio.testing import MockClock

from tests.kms.certificates import Authority
from tests.kms.fault_server import FaultServer, answer
from tests.kms.http_faults import (
    CONTEXT,
    DEK_IN_BASE64,
    SHORT_IN_BASE64,
    Connect,
    HttpFaults,
    serving,
)
from tests.kms.reasons import reason
from tests.kms.server_process import free_port
from tests.kms.vault.conftest import Opener
from tests.kms.wrapping import DEK
from vtpmd.kms.vault.provider import VaultProvider
from vtpmd.kms.vault.server import MAX_CONNECTIONS
from vtpmd.storage.slot import Slot

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
OPENED = answer(200, {"data": {"plaintext": DEK_IN_BASE64}})
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


@pytest.fixture
def connect(opened: Opener, token_file: Path) -> Connect:
    def open_provider(url: str, **more: Any) -> VaultProvider:
        auth = {"method": "token", "token_file": str(token_file)}
        return opened(url=url, auth=auth, key_name="vtpmd", **more)

    return open_provider


FAULTS = {
    "no JSON": (answer(200, b"<html>"), False, "gave no valid answer: it is not a JSON object"),
    "no object": (answer(200, b"[]"), False, "gave no valid answer: it is not a JSON object"),
    "deep": (answer(200, b"[" * 100_000), False, "it is not a JSON object"),
    "no text": (answer(200, b"\xff\xfe"), False, "it is not a JSON object"),
    "no data": (answer(200, {}), False, "gave no valid answer: there is no plaintext in it"),
    "odd data": (answer(200, {"data": []}), False, "its data are no object"),
    "no base64": (answer(200, {"data": {"plaintext": "?"}}), False, "no plaintext in it"),
    "short": (
        answer(200, {"data": {"plaintext": SHORT_IN_BASE64}}),
        False,
        "gave no valid answer: it gives 16 octets of plaintext, not 32",
    ),
    "no string": (answer(200, {"data": {"plaintext": 5}}), False, "no plaintext in it"),
    "endless": (answer(200, b" " * (2 << 20)), False, "answers more than 1048576 octets"),
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
    connect: Connect,
    said: bytes,
    retry: bool,
    words: str,
) -> None:
    server = await serving(nursery, authority, lookup(), said)
    why = await reason(connect(server.url).unwrap(SLOT, CONTEXT), retry)
    assert why.startswith(f"the Vault server {server.url} ")
    assert words in why
    assert TOKEN not in why
    assert len(server.asked) == 2


class TestHttp(HttpFaults):
    """What goes wrong with every service."""

    greeting: ClassVar = [lookup()]
    opened: ClassVar = OPENED
    slot: ClassVar = SLOT
    at_once: ClassVar = MAX_CONNECTIONS


DESCRIBED = answer(
    200,
    {
        "data": {
            "type": "aes256-gcm96",
            "derived": True,
            "latest_version": 1,
            "min_decryption_version": 1,
        }
    },
)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(200, {"data": {"ciphertext": "\ud800"}}), "there is no ciphertext in it"),
        (answer(200, {"data": {"ciphertext": 5}}), "there is no ciphertext in it"),
        (
            answer(200, {"data": {"ciphertext": f"vault:v1:{'AAAA' * 1100}"}}),
            "what key provider vault1 was given is not a slot: ",
        ),
        (answer(400, {"errors": ["proxy authentication failed"]}), "does not encrypt with key"),
    ],
)
async def test_what_cannot_be_kept_is_told(
    nursery: trio.Nursery, authority: Authority, connect: Connect, said: bytes, words: str
) -> None:
    server = await serving(nursery, authority, lookup(), DESCRIBED, said)
    assert words in await reason(connect(server.url).wrap(DEK, CONTEXT))


async def test_what_is_sent(nursery: trio.Nursery, authority: Authority, connect: Connect) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    assert await connect(server.url, namespace="team").unwrap(SLOT, CONTEXT) == DEK
    _, asked = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/transit/decrypt/vtpmd")
    assert asked.headers["x-vault-token"] == TOKEN
    assert asked.headers["x-vault-namespace"] == "team"
    assert asked.json()["ciphertext"] == SLOT.wrapped.decode()


async def test_wait_that_was_asked_for_is_kept(
    nursery: trio.Nursery, authority: Authority, connect: Connect, mock_clock: MockClock
) -> None:
    busy = answer(429, headers={"Retry-After": "7"})
    server = await serving(nursery, authority, lookup(), busy, OPENED)
    provider = connect(server.url)
    await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    mock_clock.jump(4)
    why = await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert "wants to be asked again in 3 s" in why
    assert len(server.asked) == 2
    mock_clock.jump(3.1)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


async def test_redirection_is_not_followed(
    nursery: trio.Nursery, authority: Authority, connect: Connect
) -> None:
    other = await serving(nursery, authority, OPENED)
    there = answer(307, headers={"Location": f"{other.url}/v1/transit/decrypt/vtpmd"})
    server = await serving(nursery, authority, lookup(), there)
    await reason(connect(server.url).unwrap(SLOT, CONTEXT), retry=True)
    assert other.asked == []


async def test_proxy_of_the_environment_is_not_used(
    nursery: trio.Nursery,
    authority: Authority,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://localhost:{free_port()}")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    server = await serving(nursery, authority, lookup(), OPENED)
    assert await connect(server.url).unwrap(SLOT, CONTEXT) == DEK


async def test_authority_that_cannot_be_read_is_told(connect: Connect, tmp_path: Path) -> None:
    provider = connect("https://localhost:1", ca=str(tmp_path / "absent.pem"))
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
    nursery: trio.Nursery, authority: Authority, connect: Connect, mock_clock: MockClock
) -> None:
    answers = [lookup(30, True), OPENED, OPENED, lease(30), OPENED, OPENED]
    server = await serving(nursery, authority, *answers)
    provider = connect(server.url)
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
    connect: Connect,
    mock_clock: MockClock,
    first: bytes,
    then: list[bytes],
) -> None:
    server = await serving(nursery, authority, first, OPENED, *then, lookup(30), OPENED)
    provider = connect(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    paths(server)
    mock_clock.jump(21)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK
    assert paths(server) == [*([RENEW] if then else []), LOGIN, DECRYPT]


async def test_token_without_end_is_not_renewed(
    nursery: trio.Nursery, authority: Authority, connect: Connect, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    provider = connect(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    mock_clock.jump(1e9)
    await provider.unwrap(SLOT, CONTEXT)
    assert paths(server) == [LOGIN, DECRYPT, DECRYPT]


@pytest.mark.parametrize("said", [{}, {"data": {}}, {"data": None}, {"data": {"ttl": "1h"}}])
async def test_login_without_a_token_is_told(
    nursery: trio.Nursery, authority: Authority, connect: Connect, said: Mapping[str, Any]
) -> None:
    server = await serving(nursery, authority, answer(200, said))
    assert "there is no token in it" in await reason(connect(server.url).check())


@pytest.mark.parametrize(
    "login",
    [lease(10**400), lease(-1), lease(30, token="a\nb"), lease(30, token="\ud800"), lease(30, "")],
    ids=range(5),
)
async def test_a_token_that_can_be_none_is_told(
    nursery: trio.Nursery, authority: Authority, opened: Opener, token_file: Path, login: bytes
) -> None:
    server = await serving(nursery, authority, login)
    auth = {"method": "approle", "role_id": "r", "secret_id_file": str(token_file)}
    provider = opened(url=server.url, auth=auth, key_name="vtpmd")
    assert "there is no token in it" in await reason(provider.check())


@pytest.mark.parametrize(
    "facts", [None, {}, {"type": "aes256-gcm96"}, {"type": 1, "derived": 1, "latest_version": "1"}]
)
async def test_key_that_is_not_described_is_told(
    nursery: trio.Nursery, authority: Authority, connect: Connect, facts: object
) -> None:
    server = await serving(nursery, authority, lookup(), answer(200, {"data": facts}))
    assert "it does not describe a key" in await reason(connect(server.url).check())


async def test_no_secret_shows(
    nursery: trio.Nursery, authority: Authority, connect: Connect
) -> None:
    server = await serving(nursery, authority, lookup(), OPENED)
    provider = connect(server.url)
    await provider.unwrap(SLOT, CONTEXT)
    session = vars(provider)["_session"]
    shown = repr(provider) + repr(vars(session)) + json.dumps(repr(vars(vars(session)["_server"])))
    assert TOKEN not in shown
