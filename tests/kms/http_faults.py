"""What goes wrong with any service that is asked over HTTPS."""

from pathlib import Path
from typing import Any, ClassVar, Protocol
from uuid import UUID

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.kms.certificates import Authority
from tests.kms.fault_server import HANG, FaultServer, answer
from tests.kms.reasons import reason
from tests.kms.server_process import free_port
from tests.kms.wrapping import DEK
from vtpmd.kms.breaker import FIRST_PAUSE, THRESHOLD
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.provider import KeyContext, KeyProvider
from vtpmd.storage.slot import Slot

CONTEXT = KeyContext(UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), bytes(range(16)))
DEK_IN_BASE64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SHORT_IN_BASE64 = "MDEyMzQ1Njc4OWFiY2RlZg=="


class Connect(Protocol):
    """Makes a provider that asks the service at `url`."""

    def __call__(self, url: str, **settings: Any) -> KeyProvider: ...


async def serving(nursery: trio.Nursery, authority: Authority, *answers: bytes) -> FaultServer:
    """A service with a good certificate."""
    server = FaultServer(list(answers))
    await server.start(nursery, authority.server("localhost"))
    return server


class HttpFaults:
    """Test methods; a class for a provider says what it asks for, and has a fixture `connect`."""

    greeting: ClassVar[list[bytes]] = []
    """The answers to what is asked before a slot can be opened."""
    opened: ClassVar[bytes]
    """The answer that opens `slot`."""
    slot: ClassVar[Slot]
    at_once: ClassVar[int]
    """How many requests are under way at most."""

    async def test_refused_connection_is_told(self, connect: Connect) -> None:
        provider = connect(f"https://localhost:{free_port()}")
        why = await reason(provider.unwrap(self.slot, CONTEXT), retry=True)
        assert "cannot be reached: Connection refused" in why

    async def test_hanging_service_is_given_up(
        self,
        nursery: trio.Nursery,
        authority: Authority,
        connect: Connect,
        mock_clock: MockClock,
    ) -> None:
        for before in range(len(self.greeting) + 1):
            server = await serving(nursery, authority, *self.greeting[:before], HANG)
            provider = connect(server.url, timeout=5)
            nursery.start_soon(_pass_time, server, mock_clock)
            why = await reason(provider.unwrap(self.slot, CONTEXT), retry=True)
            assert why.endswith("did not answer within 5 s")

    async def test_requests_that_wait_their_turn_do_not_age(
        self,
        nursery: trio.Nursery,
        authority: Authority,
        connect: Connect,
        mock_clock: MockClock,
    ) -> None:
        server = await serving(nursery, authority, *self.greeting, HANG)
        provider = connect(server.url, timeout=5)
        reasons: list[str] = []

        async def unwrap() -> None:
            try:
                await provider.unwrap(self.slot, CONTEXT)
            except KeyUnavailableError as error:
                reasons.append(error.reason)

        async with trio.open_nursery() as asking:
            for _ in range(self.at_once + 2):
                asking.start_soon(unwrap)
            while len(server.asked) < len(self.greeting) + self.at_once:
                await trio.lowlevel.checkpoint()
            mock_clock.jump(5.1)
            while len(reasons) < self.at_once:
                await trio.lowlevel.checkpoint()
            await wait_all_tasks_blocked()
            told = [why for why in reasons if " times in a row" not in why]
            assert len(told) == self.at_once, "others were not even asked yet"
            asking.cancel_scope.cancel()

    async def test_cancelled_request_leaves_the_provider_usable(
        self,
        nursery: trio.Nursery,
        authority: Authority,
        connect: Connect,
        mock_clock: MockClock,
    ) -> None:
        server = await serving(nursery, authority, *self.greeting, HANG, self.opened)
        provider = connect(server.url)
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await server.hanging.wait()
                scope.cancel()

            nursery.start_soon(cancel)
            await provider.unwrap(self.slot, CONTEXT)
        assert scope.cancelled_caught
        assert await provider.unwrap(self.slot, CONTEXT) == DEK

    async def test_service_that_never_answers_is_left_alone(
        self,
        nursery: trio.Nursery,
        authority: Authority,
        connect: Connect,
        mock_clock: MockClock,
    ) -> None:
        failures = [answer(500)] * THRESHOLD
        server = await serving(nursery, authority, *self.greeting, *failures, self.opened)
        provider = connect(server.url)
        for _ in failures:
            await reason(provider.unwrap(self.slot, CONTEXT), retry=True)
        why = await reason(provider.unwrap(self.slot, CONTEXT), retry=True)
        assert "failed 3 times in a row" in why
        assert len(server.asked) == len(self.greeting) + THRESHOLD
        mock_clock.jump(FIRST_PAUSE)
        assert await provider.unwrap(self.slot, CONTEXT) == DEK

    @pytest.mark.parametrize("wrong", ["host", "authority", "authority of the platform"])
    async def test_wrong_certificate_is_told(
        self,
        nursery: trio.Nursery,
        authority: Authority,
        connect: Connect,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        wrong: str,
    ) -> None:
        issuer = authority if wrong == "host" else Authority(tmp_path)
        if wrong == "authority of the platform":
            for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
                monkeypatch.setenv(variable, str(issuer.certificate))
        host = "elsewhere.example" if wrong == "host" else "localhost"
        server = FaultServer([self.opened])
        await server.start(nursery, issuer.server(host))
        why = await reason(connect(server.url).unwrap(self.slot, CONTEXT))
        assert " has a certificate that is refused: " in why
        assert server.asked == []


async def _pass_time(server: FaultServer, clock: MockClock) -> None:
    await server.hanging.wait()
    clock.jump(5.1)
