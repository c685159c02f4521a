"""AWS KMS in every state that moto does not know, and failing in every way of HTTP."""

import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock

from tests.kms.aws_kms.conftest import REGION, SECRET_KEY, Opener
from tests.kms.certificates import Authority
from tests.kms.fault_server import HANG, Asked, FaultServer, answer
from tests.kms.reasons import reason
from tests.kms.server_process import free_port
from vtpmd.kms.provider import KeyContext, KeyRefused
from vtpmd.storage.slot import Slot

CONTEXT = KeyContext(UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), bytes(range(16)))
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
SLOT = Slot(
    provider_type="aws-kms",
    provider="aws1",
    key_ref=KEY,
    key_version="",
    algorithm="SYMMETRIC_DEFAULT",
    wrapped=b"wrapped",
    created=0,
)
DEK = b"0123456789abcdef" * 2
OPENED = answer(200, {"KeyId": KEY, "Plaintext": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="})


def refusal(code: str, status: int = 400) -> bytes:
    return answer(status, {"__type": code, "message": f"{code} it is"})


async def serving(nursery: trio.Nursery, authority: Authority, *answers: bytes) -> FaultServer:
    server = FaultServer(list(answers))
    await server.start(nursery, authority.server("localhost"))
    return server


FAULTS = {
    "disabled": (refusal("DisabledException"), False, "the key is disabled: enable it"),
    "pending": (refusal("KMSInvalidStateException"), False, "in which it cannot be used"),
    "missing": (refusal("NotFoundException"), False, f"has no key {KEY}"),
    "denied": (refusal("AccessDeniedException"), False, "our credentials do not permit it"),
    "expired": (refusal("ExpiredTokenException"), True, "refuses our credentials (ExpiredToken"),
    "unknown": (refusal("UnrecognizedClientException"), False, "refuses our credentials"),
    "signature": (refusal("InvalidSignatureException", 403), False, "refuses our credentials"),
    "throttled": (refusal("ThrottlingException"), True, "is in trouble (ThrottlingException)"),
    "busy": (refusal("Busy", 429), True, "is in trouble (Busy)"),
    "internal": (refusal("KMSInternalException", 500), True, "is in trouble"),
    "hsm": (refusal("KeyUnavailableException", 500), True, "is in trouble"),
    "overload": (answer(503, b"<html>"), True, "is in trouble"),
    "new": (refusal("DryRunOperationException"), False, "does not decrypt, DryRunOperation"),
    "no JSON": (answer(200, b"<html>"), True, "gave no valid answer: there is no Plaintext in it"),
    "no text": (answer(200, b"\xff\xfe"), True, "gave no valid answer: it cannot be parsed"),
    "deep": (answer(200, b"[" * 100_000), True, "gave no valid answer"),
    "no plaintext": (answer(200, {}), True, "gave no valid answer: there is no Plaintext in it"),
    "odd": (answer(200, {"Plaintext": 5}), True, "gave no valid answer"),
    "no object": (answer(200, b"[]"), True, "gave no valid answer"),
    "truncated": (answer(200, {"Plaintext": "MDEy"}, missing=9), True, "gave no valid answer"),
    "closed": (b"", True, "broke the connection"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", True, "broke the connection"),
    "redirect": (
        answer(307, headers={"Location": "https://evil.example/"}),
        False,
        "does not decrypt",
    ),
}


@pytest.mark.parametrize(("said", "retry", "words"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_is_told(
    nursery: trio.Nursery,
    authority: Authority,
    opened: Opener,
    said: bytes,
    retry: bool,
    words: str,
) -> None:
    server = await serving(nursery, authority, said)
    why = await reason(opened(server.url, KEY).unwrap(SLOT, CONTEXT), retry)
    assert why.startswith(f"AWS KMS at {server.url} ")
    assert words in why
    assert len(server.asked) == 1, "who asks for keys counts the attempts"


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
async def test_ciphertext_that_does_not_open_is_refused(
    nursery: trio.Nursery, authority: Authority, opened: Opener, code: str
) -> None:
    server = await serving(nursery, authority, refusal(code))
    with pytest.raises(KeyRefused, match="is damaged, or of another instance or DEK"):
        await opened(server.url, KEY).unwrap(SLOT, CONTEXT)


async def test_what_is_sent_is_signed(
    nursery: trio.Nursery, authority: Authority, opened: Opener
) -> None:
    server = await serving(nursery, authority, OPENED)
    assert await opened(server.url, KEY).unwrap(SLOT, CONTEXT) == DEK
    (asked,) = server.asked
    assert asked.headers["x-amz-target"] == "TrentService.Decrypt"
    assert json.loads(asked.body) == {
        "KeyId": KEY,
        "CiphertextBlob": "d3JhcHBlZA==",
        "EncryptionContext": {
            "purpose": "vtpmd-dek-v1",
            "instance": str(CONTEXT.uuid),
            "dek": CONTEXT.dek_id.hex(),
        },
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }
    assert asked.headers["authorization"].endswith(f"Signature={signature(asked)}")


def signature(asked: Asked) -> str:
    """AWS Signature Version 4 of a request, as its specification says."""
    header = asked.headers["authorization"]
    fields = dict(part.strip().split("=", 1) for part in header.split(" ", 1)[1].split(","))
    names = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-date", "x-amz-target"} <= set(names)
    lines = [asked.method, asked.path, ""]
    lines += [f"{name}:{asked.headers[name]}" for name in names]
    lines += ["", ";".join(names), hashlib.sha256(asked.body).hexdigest()]
    _, scope = fields["Credential"].split("/", 1)
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", asked.headers["x-amz-date"], scope, canonical])
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def test_replaced_credentials_are_found(
    nursery: trio.Nursery,
    authority: Authority,
    opened: Opener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await serving(nursery, authority, refusal("ExpiredTokenException"), OPENED)
    provider = opened(server.url, KEY)
    await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDREPLACED")
    assert await provider.unwrap(SLOT, CONTEXT) == DEK
    assert "Credential=AKIDREPLACED/" in server.asked[1].headers["authorization"]


async def test_missing_credentials_are_told_and_found_when_they_come(
    nursery: trio.Nursery,
    authority: Authority,
    opened: Opener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = await serving(nursery, authority, OPENED)
    provider = opened(server.url, KEY)
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        without.delenv("AWS_SECRET_ACCESS_KEY")
        why = await reason(provider.unwrap(SLOT, CONTEXT))
    assert "cannot be asked: there are no credentials for it" in why
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


async def test_missing_profile_is_told(opened: Opener) -> None:
    provider = opened("https://localhost:1", KEY, profile="absent")
    assert "cannot be asked: The config profile (absent) could not be found" in await reason(
        provider.unwrap(SLOT, CONTEXT)
    )


async def test_refused_connection_is_told(opened: Opener) -> None:
    provider = opened(f"https://localhost:{free_port()}", KEY)
    assert "cannot be reached" in await reason(provider.unwrap(SLOT, CONTEXT), retry=True)


async def test_hanging_service_is_given_up(
    nursery: trio.Nursery, authority: Authority, opened: Opener, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, HANG)
    provider = opened(server.url, KEY, timeout=5)

    async def time_passes() -> None:
        await server.hanging.wait()
        mock_clock.jump(5.1)

    nursery.start_soon(time_passes)
    why = await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert why.endswith("did not answer within 5 s")


async def test_cancelled_call_leaves_the_provider_usable(
    nursery: trio.Nursery, authority: Authority, opened: Opener, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, HANG, OPENED)
    provider = opened(server.url, KEY)
    with trio.CancelScope() as scope:

        async def cancel() -> None:
            await server.hanging.wait()
            scope.cancel()

        nursery.start_soon(cancel)
        await provider.unwrap(SLOT, CONTEXT)
    assert scope.cancelled_caught
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


async def test_service_that_never_answers_is_left_alone(
    nursery: trio.Nursery, authority: Authority, opened: Opener, mock_clock: MockClock
) -> None:
    server = await serving(nursery, authority, *[answer(500)] * 3, OPENED)
    provider = opened(server.url, KEY)
    for _ in range(3):
        await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert "failed 3 times in a row" in await reason(provider.unwrap(SLOT, CONTEXT), retry=True)
    assert len(server.asked) == 3
    mock_clock.jump(5.1)
    assert await provider.unwrap(SLOT, CONTEXT) == DEK


@pytest.mark.parametrize("wrong", ["host", "authority"])
async def test_wrong_certificate_is_told(
    nursery: trio.Nursery, authority: Authority, opened: Opener, tmp_path: Any, wrong: str
) -> None:
    issuer = authority if wrong == "host" else Authority(tmp_path)
    server = FaultServer([OPENED])
    await server.start(
        nursery, issuer.server("elsewhere.example" if wrong == "host" else "localhost")
    )
    why = await reason(opened(server.url, KEY).unwrap(SLOT, CONTEXT))
    assert "cannot be spoken to with TLS: " in why
    assert "doesn't match" in why or "certificate verify failed" in why
    assert server.asked == []


async def test_no_secret_shows(nursery: trio.Nursery, authority: Authority, opened: Opener) -> None:
    server = await serving(nursery, authority, OPENED)
    provider = opened(server.url, KEY)
    await provider.unwrap(SLOT, CONTEXT)
    shown = repr(provider) + repr(vars(vars(provider)["_client"]))
    assert SECRET_KEY not in shown
