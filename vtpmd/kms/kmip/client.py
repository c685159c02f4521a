"""A client of one KMIP server: keeps connections open, limits time, gives reasons for failures."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from vtpmd.storage.wipe import wipe

from ..breaker import Breaker
from ..errors import KeyUnavailableError
from ..tls import Credentials, CredentialsError, explain
from .connection import Connection, ConnectionLostError
from .messages import OperationFailedError, Request
from .ttlv import TtlvError

MAX_CONNECTIONS = 4

Result = TypeVar("Result")


class Client:
    """Sends requests to `host` and `port`; each has `timeout` seconds, connecting included.

    At most MAX_CONNECTIONS are open, each with one request under way; further requests wait.
    """

    def __init__(self, host: str, port: int, credentials: Credentials, timeout: float) -> None:
        self.server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address = host, port
        self._credentials = credentials
        self._timeout = timeout
        self._places = trio.Semaphore(MAX_CONNECTIONS)
        self._idle: list[Connection] = []
        self._breaker = Breaker(f"the KMIP server {self.server}")

    async def call(self, request: Request[Result]) -> Result:
        """Do one operation.

        Raises OperationFailedError; KeyUnavailableError if there is no valid answer.
        """
        async with self._places:
            with self._breaker.attempt(), self._explained(request):
                with trio.fail_after(self._timeout):
                    return await self._answer(request)

    async def aclose(self) -> None:
        """Close the connections that are kept open; calls open new ones."""
        while self._idle:
            await self._idle.pop().abort()

    async def _answer(self, request: Request[Result]) -> Result:
        if self._idle:
            try:
                return await self._converse(self._idle.pop(), request)
            except (ConnectionLostError, trio.BrokenResourceError):
                # Servers close connections that were idle for long, or have been restarted.
                if not request.repeatable:
                    raise
        connection = await Connection.open(*self._address, self._credentials)
        return await self._converse(connection, request)

    async def _converse(self, connection: Connection, request: Request[Result]) -> Result:
        message, reply = bytearray(), bytearray()
        try:
            message = request.encode()
            reply = await connection.exchange(message)
            result = request.result(reply)
        except OperationFailedError:
            self._idle.append(connection)
            raise
        except BaseException:
            await connection.abort()
            raise
        finally:
            wipe(message)
            wipe(reply)
        self._idle.append(connection)
        return result

    @contextmanager
    def _explained(self, request: Request[Result]) -> Iterator[None]:
        """Turn the failures of a request into reasons that a person can act on."""
        try:
            yield
        except trio.TooSlowError:
            raise self._unavailable(
                f"did not answer {request.operation} within {self._timeout:g} s", retry=True
            ) from None
        except ConnectionLostError as error:
            raise self._unavailable(str(error), retry=True) from None
        except CredentialsError as error:
            reason = f"the KMIP server {self.server} cannot be asked: {error}"
            raise KeyUnavailableError(reason, retry=False) from None
        except TtlvError as error:
            raise self._unavailable(f"gave no valid answer: {error}", retry=False) from None
        except (trio.BrokenResourceError, OSError) as error:
            raise self._unavailable(*(explain(error) or ("broke the connection", True))) from None

    def _unavailable(self, what: str, retry: bool) -> KeyUnavailableError:
        return KeyUnavailableError(f"the KMIP server {self.server} {what}", retry)
