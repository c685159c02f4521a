"""The ways to get a token: AppRole, TLS certificate, a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trio

from vtpmd.storage.errors import StorageError

from ..errors import KeyUnavailableError
from ..secret_file import is_credential, read_secret
from .server import RequestRefusedError, Server

_MAX_SECRET = 4096
_MAX_LEASE = 1 << 32  # seconds


@dataclass(frozen=True)
class Token:
    """Authenticates us to the server for `lease` seconds from when it was issued (0: no limit)."""

    value: str = field(repr=False)
    lease: float
    renewable: bool


class Login(Protocol):
    """One way to get a token."""

    method: str

    async def log_in(self, server: Server) -> Token:
        """Return a token. Raises KeyUnavailableError."""


@dataclass(frozen=True)
class AppRoleLogin:
    """The auth method AppRole: `role_id` is a name, `secret_id` a file with the secret id."""

    mount: str
    role_id: str
    secret_id: Path
    method = "approle"

    async def log_in(self, server: Server) -> Token:
        """Read the secret id and log in."""
        secret = await _read(self.secret_id)
        body = {"role_id": self.role_id, "secret_id": secret}
        return await _log_in(server, self.mount, body, f"the AppRole login with {self.secret_id}")


@dataclass(frozen=True)
class CertificateLogin:
    """The auth method for TLS certificates, with `role` or, without one, any role that matches."""

    mount: str
    role: str | None = None
    method = "cert"

    async def log_in(self, server: Server) -> Token:
        """Log in with the certificate of the connection."""
        body = {"name": self.role} if self.role else {}
        return await _log_in(server, self.mount, body, "the login with the client certificate")


@dataclass(frozen=True)
class TokenLogin:
    """A token that somebody else, such as an agent, keeps in a file."""

    file: Path
    method = "token"

    async def log_in(self, server: Server) -> Token:
        """Read the token and ask the server how long it lasts."""
        value = await _read(self.file)
        try:
            answer = await server.ask("GET", "auth/token/lookup-self", value)
        except RequestRefusedError as error:
            # A valid token may be put into the file.
            raise KeyUnavailableError(
                f"the Vault server {server.url} refuses the token in {self.file}: {error}",
                retry=True,
            ) from None
        return _token(server, answer.get("data"), value, "ttl")


def read_lease(server: Server, answer: dict[str, Any]) -> Token:
    """The token in the answer to a login or a renewal. Raises KeyUnavailableError."""
    auth = answer.get("auth")
    value = auth.get("client_token") if isinstance(auth, dict) else None
    return _token(server, auth, value, "lease_duration")


async def _log_in(server: Server, mount: str, body: dict[str, str], what: str) -> Token:
    try:
        answer = await server.ask("POST", f"auth/{mount}/login", None, body)
    except RequestRefusedError as error:
        raise KeyUnavailableError(
            f"the Vault server {server.url} refuses {what}: {error}", retry=False
        ) from None
    return read_lease(server, answer)


def _token(server: Server, facts: object, value: object, lease_name: str) -> Token:
    if isinstance(facts, dict) and isinstance(value, str) and _is_one_line(value):
        lease = facts.get(lease_name)
        if isinstance(lease, int) and 0 <= lease <= _MAX_LEASE:
            return Token(value, lease, facts.get("renewable") is True)
    raise KeyUnavailableError(
        f"the Vault server {server.url} gave no valid answer: there is no token in it",
        retry=False,
    )


def _is_one_line(text: str) -> bool:
    return text != "" and text.isascii() and text.isprintable()


async def _read(path: Path) -> str:
    try:
        content = await trio.to_thread.run_sync(
            read_secret, path, _MAX_SECRET, is_credential(path), abandon_on_cancel=True
        )
    except StorageError as error:
        raise KeyUnavailableError(str(error), retry=error.kind == "missing") from None
    text = content.decode(errors="replace").strip()
    if not _is_one_line(text):
        raise KeyUnavailableError(f"{path} does not hold one line of plain text", retry=False)
    return text
