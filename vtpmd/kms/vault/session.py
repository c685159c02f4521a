"""Requests with a token that is renewed in time and replaced when it is no longer valid."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import trio

from .login import Login, Token, read_lease
from .server import RequestRefusedError, Server

_DUE = 2 / 3  # of a token's lease has passed when it is renewed
_FORBIDDEN = 403


class Session:
    """Sends requests to `server` with a token from `login`, which is first used when needed."""

    def __init__(self, server: Server, login: Login) -> None:
        self._server = server
        self._login = login
        self._token: Token | None = None
        self._due = -math.inf
        self._changing = trio.Lock()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._server.url

    @property
    def method(self) -> str:
        """The way of logging in."""
        return self._login.method

    async def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """As `Server.ask`, with a token."""
        known = self._token
        token = await self._current()
        try:
            return await self._server.ask(method, path, token.value, body)
        except RequestRefusedError as error:
            # If the token was just issued, the policy forbids the request.
            if error.status != _FORBIDDEN or token is not known:
                raise
        token = await self._current(instead_of=token)
        return await self._server.ask(method, path, token.value, body)

    async def certificate_expires(self) -> datetime | None:
        """As `Server.certificate_expires`."""
        return await self._server.certificate_expires()

    async def aclose(self) -> None:
        """Close the connections; the token stays valid until it expires."""
        await self._server.aclose()

    async def _current(self, instead_of: Token | None = None) -> Token:
        """A token that should be valid; not `instead_of`, which was refused."""
        async with self._changing:
            token = self._token
            if token is not None and token is not instead_of:
                if trio.current_time() < self._due:
                    return token
                if token.renewable and (renewed := await self._renewed(token)):
                    return self._keep(renewed)
            # Open connections still use the certificate that they were opened with.
            await self._server.reopen()
            return self._keep(await self._login.log_in(self._server))

    async def _renewed(self, token: Token) -> Token | None:
        """The same token with a new lease, unless it is revoked or near its maximum age."""
        try:
            answer = await self._server.ask("POST", "auth/token/renew-self", token.value, {})
        except RequestRefusedError:
            return None
        renewed = read_lease(self._server, answer)
        return renewed if renewed.lease >= token.lease else None

    def _keep(self, token: Token) -> Token:
        self._token = token
        self._due = trio.current_time() + token.lease * _DUE if token.lease else math.inf
        return token
