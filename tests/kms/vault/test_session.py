"""Logins, tokens that end, rights that are missing, seals: with a real OpenBao server."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import trio
from cryptography import x509

from tests.kms.certificates import Authority, Pair
from tests.kms.reasons import reason
from tests.kms.vault.bao import INSTANCE_POLICY, SHARED_POLICY, Bao
from tests.kms.vault.conftest import Opener
from tests.kms.wrapping import DEK
from vtpmd.kms.provider import KeyContext

CONTEXT = KeyContext(uuid4(), bytes(16))


def by_certificate(pair: Pair, **more: str) -> dict[str, str]:
    return {"method": "cert", "certificate": str(pair.certificate), "key": str(pair.key), **more}


async def test_one_login_serves_many_requests(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    before = bao.accessors()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(provider.wrap, DEK, CONTEXT)
    assert len(bao.accessors() - before) == 1


async def test_revoked_token_is_replaced_once(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    slot = await provider.wrap(DEK, CONTEXT)
    bao.revoke_tokens()
    before = bao.accessors()
    assert await provider.unwrap(slot, CONTEXT) == DEK
    assert len(bao.accessors() - before) == 1


async def test_secret_id_that_no_longer_counts_is_told(
    bao: Bao, opened: Opener, secret: Callable[[str], Path]
) -> None:
    provider = opened(bao, key_name="vtpmd")
    slot = await provider.wrap(DEK, CONTEXT)
    bao.revoke_tokens()
    file = secret("0b594b5b-277b-668c-6cf3-61b322155bc7")
    why = await reason(provider.unwrap(slot, CONTEXT))
    assert f"refuses the AppRole login with {file}: invalid role or secret ID" in why
    assert "0b594b5b" not in why
    secret(bao.secret_id("shared"))
    assert await provider.unwrap(slot, CONTEXT) == DEK


async def test_secret_open_to_others_is_refused(
    bao: Bao, opened: Opener, secret: Callable[[str], Path]
) -> None:
    provider = opened(bao, key_name="vtpmd")
    file = secret(bao.secret_id("shared"))
    file.chmod(0o640)
    assert "mode 0640; take 0040 away" in await reason(provider.check())
    file.chmod(0o600)
    await provider.check()


async def test_missing_secret_is_told_and_may_come(
    bao: Bao, opened: Opener, secret: Callable[[str], Path]
) -> None:
    provider = opened(bao, key_name="vtpmd")
    secret("").unlink()
    assert "No such file" in await reason(provider.check(), retry=True)


@pytest.mark.parametrize("text", ["", "two\nlines", "ümlaut"])
async def test_secret_that_cannot_be_one_is_not_sent(
    bao: Bao, opened: Opener, secret: Callable[[str], Path], text: str
) -> None:
    provider = opened(bao, key_name="vtpmd")
    secret(text)
    assert "one line of plain text" in await reason(provider.check())


async def test_credential_of_the_service_is_read(
    bao: Bao, opened: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = tmp_path / "credentials" / "secret-id"
    credential.parent.mkdir()
    credential.write_text(bao.secret_id("shared"))
    credential.chmod(0o440)  # as systemd's ACL shows
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credential.parent))
    auth = {
        "method": "approle",
        "role_id": bao.role_id("shared"),
        "secret_id_file": str(credential),
    }
    await opened(bao, key_name="vtpmd", auth=auth).check()


async def test_login_with_a_certificate(bao: Bao, opened: Opener, authority: Authority) -> None:
    pair = authority.client("vtpmd")
    provider = opened(bao, key_name="vtpmd", auth=by_certificate(pair, role="vtpmd"))
    slot = await provider.wrap(DEK, CONTEXT)
    assert await provider.unwrap(slot, CONTEXT) == DEK
    description = await provider.describe()
    assert description["auth"] == "cert"
    certificate = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    assert description["certificate_expires"] == certificate.not_valid_after_utc.isoformat()


async def test_replaced_certificate_is_used_for_the_next_login(
    bao: Bao, opened: Opener, authority: Authority
) -> None:
    pair = authority.client("vtpmd")
    provider = opened(bao, key_name="vtpmd", auth=by_certificate(pair))
    await provider.check()
    other = authority.client("stranger")
    pair.key.write_bytes(other.key.read_bytes())
    pair.certificate.write_bytes(other.certificate.read_bytes())
    await provider.check()
    bao.revoke_tokens()
    why = await reason(provider.check())
    assert "refuses the login with the client certificate: " in why
    authority.client("vtpmd")
    await provider.check()


@pytest.mark.parametrize(
    ("days", "words"), [(-2, "vtpmd.pem expired at"), (2, "vtpmd.pem is not valid before")]
)
async def test_certificate_out_of_its_time_is_told(
    bao: Bao, opened: Opener, tmp_path: Path, days: int, words: str
) -> None:
    pair = Authority(tmp_path).client("vtpmd", timedelta(days=days))
    provider = opened(bao, key_name="vtpmd", auth=by_certificate(pair))
    assert words in await reason(provider.check())


async def test_token_is_read_from_its_file_again_when_it_is_refused(
    bao: Bao, opened: Opener, secret: Callable[[str], Path]
) -> None:
    file = secret(bao.token(policies=["shared"], ttl="1h"))
    auth = {"method": "token", "token_file": str(file)}
    provider = opened(bao, key_name="vtpmd", auth=auth)
    slot = await provider.wrap(DEK, CONTEXT)
    bao.revoke_tokens()
    why = await reason(provider.unwrap(slot, CONTEXT), retry=True)
    assert f"refuses the token in {file}: permission denied" in why
    secret(bao.token(policies=["shared"], ttl="1h"))
    assert await provider.unwrap(slot, CONTEXT) == DEK


@pytest.mark.parametrize(("operation", "verb"), [("keys", "read"), ("encrypt", "encrypt with")])
async def test_missing_right_is_told(bao: Bao, opened: Opener, operation: str, verb: str) -> None:
    provider = opened(bao, key_name="vtpmd")
    await provider.check()
    before = bao.accessors()
    with bao.policy("shared", SHARED_POLICY.replace(f"{operation}/", "other/")):
        why = await reason(provider.check())
    assert f"does not permit us to {verb} key vtpmd in transit" in why
    assert len(bao.accessors() - before) == 1, "one new login is worth trying, not more"
    await provider.check()


@pytest.mark.parametrize("operation", ["keys/vtpmd-*", "encrypt/vtpmd-*", "decrypt/vtpmd-*"])
async def test_missing_right_to_make_keys_is_told(bao: Bao, opened: Opener, operation: str) -> None:
    text = INSTANCE_POLICY.replace(f'{operation}"', 'other"')
    with bao.policy("instance", text):
        why = await reason(opened(bao).check())
    assert "does not permit us to POST to transit/" + operation.removesuffix("*") in why


async def test_sealed_server_is_told_and_serves_again(bao: Bao, opened: Opener) -> None:
    provider = opened(bao, key_name="vtpmd")
    slot = await provider.wrap(DEK, CONTEXT)
    fresh = opened(bao, key_name="vtpmd")
    bao.ask("POST", "sys/seal")
    try:
        why = await reason(provider.unwrap(slot, CONTEXT), retry=True)
        why_fresh = await reason(fresh.check(), retry=True)
    finally:
        bao.unseal()
    assert "is sealed: unseal it" in why
    assert "is sealed: unseal it" in why_fresh
    assert await provider.unwrap(slot, CONTEXT) == DEK
