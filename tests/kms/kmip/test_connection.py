"""Whom a connection trusts, and what it says when TLS or one of its files stands in the way."""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives import serialization

from tests.kms.certificates import Authority, Pair
from tests.kms.kmip.asking import ACTIVE, ASK_STATE, GOOD, failure, open_client
from tests.kms.kmip.conftest import TIMEOUT
from tests.kms.kmip.scripted import (
    ScriptedServer,
    answering,
    scripted,
    server_context,
)
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.tls import Credentials


async def test_a_server_without_tls_is_told(credentials: Credentials) -> None:
    async def greet(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(b"220 mail.example ESMTP\r\n")
        await stream.receive_some(1 << 16)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, greet, [listener])
        port = listener.socket.getsockname()[1]
        error = await failure(open_client(port, credentials))
        nursery.cancel_scope.cancel()
    assert error.reason.startswith("cannot be spoken to with TLS: ")
    assert not error.retry


async def refusal_of_server(pair: Pair, authority: Authority, credentials: Credentials) -> str:
    async with scripted(server_context(pair, authority.certificate)) as server:
        server.script = answering(GOOD)
        error = await failure(open_client(server.port, credentials))
    assert not error.retry
    return error.reason


async def test_a_certificate_for_another_host_is_refused(
    authority: Authority, credentials: Credentials
) -> None:
    reason = await refusal_of_server(authority.server("evil.example"), authority, credentials)
    assert reason == (
        "has a certificate that is refused: Hostname mismatch, certificate is not valid for "
        "'localhost'."
    )


async def test_a_certificate_that_names_a_host_in_its_subject_only_is_refused(
    authority: Authority, credentials: Credentials, tmp_path: Path
) -> None:
    pair = authority.issue("localhost", ssl.Purpose.SERVER_AUTH)
    reason = await refusal_of_server(pair, authority, credentials)
    assert "is not valid for 'localhost'" in reason


async def test_a_certificate_of_another_authority_is_refused(
    authority: Authority, credentials: Credentials, tmp_path: Path
) -> None:
    pair = Authority(tmp_path, "stranger").server("localhost")
    reason = await refusal_of_server(pair, authority, credentials)
    assert "refused: unable to get local issuer certificate" in reason


async def test_an_authority_that_only_the_platform_trusts_is_refused(
    authority: Authority,
    credentials: Credentials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    platform = Authority(tmp_path, "platform")
    monkeypatch.setenv("SSL_CERT_FILE", str(platform.certificate))
    reason = await refusal_of_server(platform.server("localhost"), authority, credentials)
    assert "refused: unable to get local issuer certificate" in reason


async def test_a_certificate_for_clients_is_refused_of_a_server(
    authority: Authority, credentials: Credentials
) -> None:
    pair = authority.issue("client-as-server", ssl.Purpose.CLIENT_AUTH, "localhost")
    reason = await refusal_of_server(pair, authority, credentials)
    assert "refused: unsuitable certificate purpose" in reason


async def test_an_expired_certificate_of_the_server_is_refused(
    authority: Authority, credentials: Credentials
) -> None:
    pair = authority.issue(
        "expired-server", ssl.Purpose.SERVER_AUTH, "localhost", shift=timedelta(days=-2)
    )
    reason = await refusal_of_server(pair, authority, credentials)
    assert reason == "has a certificate that is refused: certificate has expired"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_of_tls_are_spoken(
    authority: Authority, localhost: Pair, credentials: Credentials, version: ssl.TLSVersion
) -> None:
    context = server_context(localhost, authority.certificate)
    context.minimum_version = context.maximum_version = version
    async with scripted(context) as server:
        server.script = answering(GOOD)
        assert await open_client(server.port, credentials).call(ASK_STATE) == ACTIVE


def shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Refuse a client as servers do, with an alert, which trio's streams do not send."""
    connection, _ = listener.accept()
    connection.settimeout(TIMEOUT)
    with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secure:
        with pytest.raises(ssl.SSLError):
            secure.do_handshake()
        # Closing with something unread would take the alert back.
        secure.shutdown(socket.SHUT_WR)
        while secure.recv(1 << 16):
            pass


async def refusal_by_server(context: ssl.SSLContext, credentials: Credentials) -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, shake_hands, listener, context)
            port = listener.getsockname()[1]
            error = await failure(open_client(port, credentials))
    assert not error.retry
    return error.reason


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_old_tls_is_refused(
    authority: Authority, localhost: Pair, credentials: Credentials
) -> None:
    context = server_context(localhost, authority.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    reason = await refusal_by_server(context, credentials)
    assert reason == "refuses the TLS connection: protocol version"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_that_the_server_refuses_is_told(
    authority: Authority,
    localhost: Pair,
    credentials: Credentials,
    tmp_path: Path,
    version: ssl.TLSVersion,
) -> None:
    stranger = Authority(tmp_path, "stranger").client("stranger-client")
    context = server_context(localhost, authority.certificate)
    context.minimum_version = context.maximum_version = version
    wrong = replace(credentials, certificate=stranger.certificate, key=stranger.key)
    reason = await refusal_by_server(context, wrong)
    assert reason == "refuses the client certificate: unknown ca"


def encrypted(key: Path) -> bytes:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


Spoil = Callable[[Credentials, Path], Credentials]


def pair_of(credentials: Credentials) -> Pair:
    assert credentials.certificate is not None
    assert credentials.key is not None
    return Pair(credentials.certificate, credentials.key)


def _other_key(good: Credentials, directory: Path) -> Credentials:
    return replace(good, key=Authority(directory, "other").client("other-client").key)


def _copy(good: Credentials, directory: Path, mode: int, data: bytes | None = None) -> Credentials:
    key = directory / "copy.key"
    key.write_bytes(pair_of(good).key.read_bytes() if data is None else data)
    key.chmod(mode)
    return replace(good, key=key)


def _link(good: Credentials, directory: Path) -> Credentials:
    (directory / "link").symlink_to(pair_of(good).key)
    return replace(good, key=directory / "link")


def _expired(good: Credentials, directory: Path) -> Credentials:
    pair = Authority(directory, "x").client("expired", shift=timedelta(days=-2))
    return replace(good, certificate=pair.certificate, key=pair.key)


def _early(good: Credentials, directory: Path) -> Credentials:
    pair = Authority(directory, "x").client("early", shift=timedelta(days=2))
    return replace(good, certificate=pair.certificate, key=pair.key)


def _open_ca(good: Credentials, directory: Path) -> Credentials:
    ca = directory / "ca"
    ca.write_bytes(good.ca.read_bytes())
    ca.chmod(0o666)
    return replace(good, ca=ca)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda good, at: replace(good, ca=at / "absent"), "cannot read .*/absent: No such file"),
        (lambda good, at: replace(good, key=at / "absent"), "cannot read .*/absent: No such file"),
        (lambda good, at: replace(good, ca=pair_of(good).key),
         r"host1\.key holds no certificates in PEM"),
        (lambda good, at: replace(good, certificate=good.key), "holds no certificate in PEM"),
        (_open_ca, "/ca has mode 0666; take 0022 away with chmod"),
        (_other_key, r"other-client\.key cannot be used as the key of .*host1\.pem: key values"),
        (lambda good, at: _copy(good, at, 0o640), r"copy\.key has mode 0640; take 0040 away"),
        (lambda good, at: _copy(good, at, 0o604), r"copy\.key has mode 0604; take 0004 away"),
        (lambda good, at: _copy(good, at, 0o600, b""), r"copy\.key cannot be used as the key"),
        (lambda good, at: _copy(good, at, 0o600, encrypted(pair_of(good).key)),
         r"copy\.key cannot be used as the key of .*host1\.pem: "),
        (_link, "cannot read .*/link: "),
        (_expired, r"the client certificate .*/expired\.pem expired at "),
        (_early, r"the client certificate .*/early\.pem is not valid before "),
    ],
)  # fmt: skip
async def test_files_that_cannot_be_used_are_named(
    fault_server: ScriptedServer,
    credentials: Credentials,
    tmp_path: Path,
    spoil: Spoil,
    reason: str,
) -> None:
    with pytest.raises(KeyUnavailableError, match=reason) as caught:
        await open_client(fault_server.port, spoil(credentials, tmp_path)).call(ASK_STATE)
    assert not caught.value.retry
    assert "cannot be asked: " in caught.value.reason
    assert fault_server.connections == 0


async def test_authorities_may_have_words_of_any_language_beside_them(
    fault_server: ScriptedServer, credentials: Credentials, tmp_path: Path
) -> None:
    ca = tmp_path / "ca"
    ca.write_bytes("# Aussteller für Österreich\n".encode() + credentials.ca.read_bytes())
    fault_server.script = answering(GOOD)
    client = open_client(fault_server.port, replace(credentials, ca=ca))
    assert await client.call(ASK_STATE) == ACTIVE


async def test_the_key_may_be_a_credential_of_the_service(
    fault_server: ScriptedServer,
    credentials: Credentials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    fault_server.script = answering(GOOD)
    client = open_client(fault_server.port, _copy(credentials, tmp_path, 0o440))
    assert await client.call(ASK_STATE) == ACTIVE


async def test_a_renewed_certificate_is_used_by_the_next_connection(
    fault_server: ScriptedServer, authority: Authority, credentials: Credentials, tmp_path: Path
) -> None:
    fault_server.script = answering(GOOD)
    spoilt = _expired(credentials, tmp_path)
    client = open_client(fault_server.port, spoilt)
    with pytest.raises(KeyUnavailableError, match="expired at"):
        await client.call(ASK_STATE)
    pair_of(spoilt).certificate.write_bytes(pair_of(credentials).certificate.read_bytes())
    pair_of(spoilt).key.write_bytes(pair_of(credentials).key.read_bytes())
    assert await client.call(ASK_STATE) == ACTIVE
