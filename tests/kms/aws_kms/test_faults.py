"""AWS KMS in every state that moto does not know, and failing in every way of HTTP."""

import hashlib
import hmac
import json
import os
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import trio
from trio.testing import MockClock

from tests.kms.aws_kms.conftest import REGION, SECRET_KEY, Opener
from tests.kms.certificates import Authority
from tests.kms.fault_server import Asked, answer
from tests.kms.http_faults import (
    CONTEXT,
    DEK_IN_BASE64,
    SHORT_IN_BASE64,
    Connect,
    HttpFaults,
    serving,
)
from tests.kms.reasons import reason
from tests.kms.wrapping import DEK
from vtpmd.kms.aws_kms.client import MAX_CALLS
from vtpmd.kms.errors import KeyRefusedError
from vtpmd.storage.slot import Slot

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
OPENED = answer(200, {"KeyId": KEY, "Plaintext": DEK_IN_BASE64})


def refusal(code: str, status: int = 400) -> bytes:
    return answer(status, {"__type": code, "message": f"{code} it is"})


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
    "short": (
        answer(200, {"Plaintext": SHORT_IN_BASE64}),
        True,
        "gave no valid answer: it gives 16 octets of plaintext, not 32",
    ),
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


class TestHttp(HttpFaults):
    """What goes wrong with every service."""

    opened: ClassVar = OPENED
    slot: ClassVar = SLOT
    at_once: ClassVar = MAX_CALLS

    @pytest.fixture
    def connect(self, opened: Opener) -> Connect:
        return partial(opened, key=KEY)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(200, {"KeyId": KEY, "CiphertextBlob": ""}), "given is not a slot: "),
        (answer(200, {"KeyId": KEY, "CiphertextBlob": "AAAA" * 1400}), "given is not a slot: "),
        (answer(200, {"KeyId": "a\nb", "CiphertextBlob": "AAAA"}), "given is not a slot: "),
        (refusal("InvalidCiphertextException"), "does not encrypt, InvalidCiphertextException"),
    ],
)
async def test_what_cannot_be_kept_is_told(
    nursery: trio.Nursery, authority: Authority, opened: Opener, said: bytes, words: str
) -> None:
    server = await serving(nursery, authority, said)
    assert words in await reason(opened(server.url, KEY).wrap(DEK, CONTEXT))


async def test_a_key_that_cannot_be_described_is_told(
    nursery: trio.Nursery, authority: Authority, opened: Opener
) -> None:
    server = await serving(nursery, authority, refusal("InvalidCiphertextException"))
    assert "does not describe_key" in await reason(opened(server.url).check())


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "IncorrectKeyException"])
async def test_ciphertext_that_does_not_open_is_refused(
    nursery: trio.Nursery, authority: Authority, opened: Opener, code: str
) -> None:
    server = await serving(nursery, authority, refusal(code))
    with pytest.raises(KeyRefusedError, match="is damaged, or of another instance or DEK"):
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


async def test_a_source_of_credentials_that_hangs_is_given_up(
    opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mock_clock: MockClock
) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "config"
    os.mkfifo(fifo)
    file.write_text(f"[default]\ncredential_process = cat {fifo}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    reasons: list[str] = []

    async def unwrap() -> None:
        provider = opened("https://localhost:1", KEY, timeout=5)
        reasons.append(await reason(provider.unwrap(SLOT, CONTEXT), retry=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unwrap)
        hanging = await trio.to_thread.run_sync(os.open, fifo, os.O_WRONLY)
        try:
            mock_clock.jump(5.1)
            with trio.CancelScope(shield=True):
                while not reasons:
                    await trio.lowlevel.checkpoint()
        finally:
            os.close(hanging)
    assert reasons == [
        "AWS KMS at https://localhost:1 cannot be asked: no credentials were found within 5 s"
    ]


async def test_missing_profile_is_told(opened: Opener) -> None:
    provider = opened("https://localhost:1", KEY, profile="absent")
    assert "cannot be asked: The config profile (absent) could not be found" in await reason(
        provider.unwrap(SLOT, CONTEXT)
    )


async def test_no_secret_shows(nursery: trio.Nursery, authority: Authority, opened: Opener) -> None:
    server = await serving(nursery, authority, OPENED)
    provider = opened(server.url, KEY)
    await provider.unwrap(SLOT, CONTEXT)
    shown = repr(provider) + repr(vars(vars(provider)["_client"]))
    assert SECRET_KEY not in shown
