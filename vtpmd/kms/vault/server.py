"""Requests to an OpenBao or HashiCorp Vault server: JSON over HTTPS, and reasons for failures."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

import httpx2
import trio

from vtpmd.storage.wipe import wipe

from ..breaker import LONGEST_PAUSE, Breaker
from ..errors import KeyUnavailableError, KmsError
from ..tls import Credentials, CredentialsError, explain
from ..words import printable

MAX_CONNECTIONS = 8
MAX_ANSWER = 1 << 20
_IDLE = 60.0  # seconds that a connection is kept open unused


class RequestRefusedError(KmsError):
    """The server understood a request and refused it, with an HTTP `status` and a text, `words`."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class _Pool:
    """Connections that are kept open, and the number of requests that use them."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.users = 0

    async def close(self) -> None:
        """Close them all, even if the caller is cancelled."""
        with trio.CancelScope(shield=True):
            await self.client.aclose()


class Server:
    """The API at `url`; each request has `timeout` seconds, connecting included.

    At most MAX_CONNECTIONS requests are under way; others wait, and waiting does not count towards
    their timeout. Proxies from the environment and redirections are ignored.
    """

    def __init__(
        self, url: str, credentials: Credentials, timeout: float, namespace: str | None = None
    ) -> None:
        self.url = url
        self._credentials = credentials
        self._timeout = timeout
        self._headers = {"Accept-Encoding": "identity", "X-Vault-Request": "true"}
        if namespace is not None:
            self._headers["X-Vault-Namespace"] = namespace
        self._breaker = Breaker(f"the Vault server {url}")
        self._places = trio.Semaphore(MAX_CONNECTIONS)
        self._pool: _Pool | None = None
        self._quiet_until = 0.0

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the answer to one request (empty for 204).

        Raises RequestRefusedError; KeyUnavailableError if there is no valid answer.
        """
        headers = {"X-Vault-Token": token} if token else {}
        async with self._places:
            self._check_quiet()
            with self._breaker.attempt():
                with self._explained(), trio.fail_after(self._timeout):
                    status, answered, content = await self._exchange(method, path, headers, body)
                try:
                    return self._judge(status, answered, content)
                finally:
                    wipe(content)

    async def certificate_expires(self) -> datetime | None:
        """When our client certificate ends, if we have one. Raises KeyUnavailableError."""
        with self._explained():
            return await trio.to_thread.run_sync(self._credentials.expiry)

    async def reopen(self) -> None:
        """Make the next request open a new connection, for which the TLS files are read again."""
        pool, self._pool = self._pool, None
        if pool is not None and not pool.users:
            await pool.close()

    aclose = reopen

    async def _exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None,
    ) -> tuple[int, httpx2.Headers, bytearray]:
        content = bytearray()
        async with (
            self._client() as client,
            client.stream(method, f"/v1/{path}", headers=headers, json=body) as response,
        ):
            size = 0
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size <= MAX_ANSWER:  # the rest is only counted, until the timeout
                    content += chunk
        if size > MAX_ANSWER:
            raise self._unavailable(f"answers more than {MAX_ANSWER} octets", retry=False)
        return response.status_code, response.headers, content

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        if self._pool is None:
            context = await trio.to_thread.run_sync(
                self._credentials.context, abandon_on_cancel=True
            )
            # Others may have come first while the files were read.
            self._pool = self._pool or _Pool(
                httpx2.AsyncClient(
                    base_url=self.url,
                    verify=context,
                    trust_env=False,
                    follow_redirects=False,
                    headers=self._headers,
                    timeout=httpx2.Timeout(self._timeout),
                    limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=_IDLE),
                )
            )
        pool = self._pool
        pool.users += 1
        try:
            yield pool.client
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.close()

    def _judge(self, status: int, headers: httpx2.Headers, content: bytearray) -> dict[str, Any]:
        """Return the answer, or raise what it means."""
        if 300 <= status < 400:
            target = printable(headers.get("location", "nowhere"))
            raise self._unavailable(f"redirects to {target}, which is not followed", retry=True)
        if status == 429:
            raise self._asked_to_wait(headers)
        if status >= 400:
            words = _words(content) or f"HTTP status {status}"
            if status == 503 and "sealed" in words:
                raise self._unavailable("is sealed: unseal it", retry=True)
            if status >= 500:
                raise self._unavailable(f"is in trouble: {words}", retry=True)
            raise RequestRefusedError(status, words)
        answer = _decode(content) if content else {}
        if answer is None:
            raise self._unavailable("gave no valid answer: it is not a JSON object", retry=False)
        return answer

    def _asked_to_wait(self, headers: httpx2.Headers) -> KeyUnavailableError:
        wait = re.fullmatch(r"\d{1,9}", headers.get("retry-after", ""))
        seconds = min(float(wait[0]), LONGEST_PAUSE) if wait else 0.0
        self._quiet_until = trio.current_time() + seconds
        when = f" in {seconds:g} s" if wait else " later"
        return self._unavailable(f"has too much to do and wants to be asked again{when}", True)

    def _check_quiet(self) -> None:
        remaining = self._quiet_until - trio.current_time()
        if remaining > 0:
            raise self._unavailable(f"wants to be asked again in {remaining:.0f} s", retry=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the failures of a request into reasons that a person can act on."""
        try:
            yield
        except (trio.TooSlowError, httpx2.TimeoutException):
            raise self._unavailable(f"did not answer within {self._timeout:g} s", True) from None
        except CredentialsError as error:
            reason = f"the Vault server {self.url} cannot be asked: {error}"
            raise KeyUnavailableError(reason, retry=False) from None
        except httpx2.RemoteProtocolError:
            raise self._unavailable("broke off, or does not speak HTTP", retry=True) from None
        except httpx2.TransportError as error:
            words, retry = explain(error) or ("broke the connection", True)
            raise self._unavailable(words, retry) from None

    def _unavailable(self, what: str, retry: bool) -> KeyUnavailableError:
        return KeyUnavailableError(f"the Vault server {self.url} {what}", retry)


def _decode(content: bytearray) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _words(content: bytearray) -> str:
    """The text of an error's body on one line: the list `errors`, whose items may be lists."""
    errors = (_decode(content) or {}).get("errors")
    if not isinstance(errors, list):
        return ""
    found = [re.findall(r"\* (.+)", str(error)) or [str(error)] for error in errors]
    return printable("; ".join(word for words in found for word in words))
