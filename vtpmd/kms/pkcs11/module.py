"""A PKCS#11 module in its own process, which is started on demand and again after a failure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from vtpmd.ipc.codec import MalformedMessageError
from vtpmd.storage.wipe import wipe

from ..breaker import Breaker
from ..errors import KeyRefusedError, KeyUnavailableError, KmsError
from ..words import printable
from .messages import Failed, FailureKind, MechanismName, Open, Opened, Reply, Request
from .pin import PinFile
from .process import Process, ProcessEndedError

Expected = TypeVar("Expected", bound=Reply)


@dataclass(frozen=True)
class Access:
    """How to reach a token; an empty `serial` means any, the first usable of `mechanisms` wraps."""

    module: Path
    token: str
    serial: str
    mechanisms: tuple[MechanismName, ...]
    environment: Mapping[str, str] = field(repr=False)


class _Consequences(NamedTuple):
    """What follows from a failure.

    `retry`: it may pass by itself. `fresh`: the next request gets a fresh process. `again`:
    an old session may be at fault, so a request in one is repeated in a fresh process.
    """

    retry: bool
    fresh: bool
    again: bool


_CONSEQUENCES: dict[FailureKind, _Consequences] = {
    "refused": _Consequences(retry=False, fresh=False, again=False),
    "missing": _Consequences(retry=False, fresh=False, again=True),
    "unusable": _Consequences(retry=False, fresh=False, again=False),
    "pin": _Consequences(retry=False, fresh=True, again=False),
    "setup": _Consequences(retry=False, fresh=True, again=False),
    "lost": _Consequences(retry=True, fresh=True, again=True),
    "device": _Consequences(retry=True, fresh=True, again=False),
}


class _FailedError(KmsError):
    """The module answered that the request failed."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(printable(failed.reason))
        self.failed = failed
        self.consequences = _CONSEQUENCES[failed.kind]


class Module:
    """Sends requests to the token that `access` describes, one at a time.

    A request has `timeout` seconds from the start of its turn, which include starting the process
    and logging in. Then the process is killed, as it is when the request is cancelled.
    """

    def __init__(self, access: Access, pin: PinFile, timeout: float) -> None:
        self.name = f"the PKCS#11 module {access.module}"
        self._access = access
        self._pin = pin
        self._timeout = timeout
        self._process: Process | None = None
        self._turn = trio.Lock()
        self._breaker = Breaker(self.name)

    @property
    def pid(self) -> int | None:
        """The id of the process, if one is running."""
        return self._process.pid if self._process is not None else None

    async def ask(self, request: Request, expected: type[Expected]) -> Expected:
        """Do one request. Raises KeyUnavailableError; KeyRefusedError for what does not open."""
        async with self._turn:
            with self._breaker.attempt():
                try:
                    with trio.fail_after(self._timeout):
                        return await self._answer(request, expected)
                except trio.TooSlowError:
                    raise KeyUnavailableError(
                        f"{self.name} did not answer within {self._timeout:g} s", retry=True
                    ) from None
                except ProcessEndedError as error:
                    raise KeyUnavailableError(
                        f"{self.name}: its process {error}", retry=True
                    ) from None
                except MalformedMessageError as error:
                    raise KeyUnavailableError(
                        f"{self.name}: its process gave no valid answer: {error}", retry=True
                    ) from None
                except OSError as error:
                    raise KeyUnavailableError(
                        f"{self.name}: no process can be started: {error.strerror}", retry=True
                    ) from None
                except _FailedError as error:
                    if error.failed.kind == "refused":
                        raise KeyRefusedError(str(error)) from None
                    raise KeyUnavailableError(
                        f"{self.name}, token {self._access.token}: {error}",
                        error.consequences.retry,
                    ) from None

    async def aclose(self) -> None:
        """End the process; requests start a new one."""
        async with self._turn:
            await self._discard()

    async def _discard(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            await process.end()

    async def _answer(self, request: Request, expected: type[Expected]) -> Expected:
        if self._process is not None and not self._process.alive:
            await self._discard()
        if self._process is not None:
            try:
                return await self._converse(self._process, request, expected)
            except _FailedError as error:
                if not error.consequences.again:
                    raise
            await self._discard()
        return await self._converse(await self._opened(), request, expected)

    async def _opened(self) -> Process:
        """A fresh process that has opened the token."""
        pin = await trio.to_thread.run_sync(self._pin.read, abandon_on_cancel=True)
        try:
            self._process = Process(self._access.environment)
            access = self._access
            order = Open(str(access.module), access.token, access.serial, access.mechanisms, pin)
            await self._converse(self._process, order, Opened)
        except _FailedError as error:
            if error.failed.kind == "pin":
                self._pin.refuse(pin)
            raise
        finally:
            wipe(pin)
        return self._process

    async def _converse(
        self, process: Process, request: Request, expected: type[Expected]
    ) -> Expected:
        try:
            reply = await process.ask(request)
            if isinstance(reply, Failed):
                raise _FailedError(reply)
            if not isinstance(reply, expected):
                raise MalformedMessageError(
                    f"{type(reply).__name__} in place of {expected.__name__}"
                )
        except _FailedError as error:
            if error.consequences.fresh:
                await self._discard()
            raise
        except BaseException:
            await self._discard()
            raise
        return reply
