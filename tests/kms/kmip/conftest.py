"""An authority for both ends, PyKMIP's server, and clients of it that end with the test."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.kms import configured
from tests.kms.certificates import Authority, Pair
from tests.kms.closing import close_at_the_end
from tests.kms.kmip.pykmip import Server
from tests.kms.kmip.scripted import ScriptedServer, scripted, server_context
from vtpmd.kms.kmip.client import Client
from vtpmd.kms.kmip.provider import KmipProvider
from vtpmd.kms.tls import Credentials

TIMEOUT = 20.0  # of real servers on a busy machine; hanging ones are tested with a clock of ours


class OpenProvider(Protocol):
    """Makes a provider from settings that differ from the usual ones."""

    def __call__(self, **settings: Any) -> KmipProvider: ...


@pytest.fixture(scope="session")
def host_pair(authority: Authority) -> Pair:
    """The certificate of this host at the server."""
    return authority.client("host1")


@pytest.fixture(scope="session")
def credentials(authority: Authority, host_pair: Pair) -> Credentials:
    """What this host knows the server by, and shows to it."""
    return Credentials(authority.certificate, host_pair.certificate, host_pair.key)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, localhost: Pair
) -> Iterator[Server]:
    """PyKMIP's server; keys that tests leave in it disturb nobody."""
    server = Server(tmp_path_factory.mktemp("pykmip"), authority.certificate, localhost)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def localhost(authority: Authority) -> Pair:
    """The certificate of a good server."""
    return authority.server("localhost", "127.0.0.1")


@pytest.fixture
async def fault_server(authority: Authority, localhost: Pair) -> AsyncIterator[ScriptedServer]:
    """A good server, but for its script."""
    async with scripted(server_context(localhost, authority.certificate)) as server:
        yield server


@pytest.fixture
def open_client(server: Server, credentials: Credentials) -> Callable[[], Client]:
    """Opens clients of the real server."""

    def open_client() -> Client:
        client = Client("localhost", server.port, credentials, TIMEOUT)
        close_at_the_end(client)
        return client

    return open_client


@pytest.fixture
async def client(open_client: Callable[[], Client]) -> Client:
    """A client of the real server."""
    return open_client()


@pytest.fixture
def open_provider(server: Server, credentials: Credentials, tmp_path: Path) -> OpenProvider:
    """Opens providers that use the real server."""

    def open_provider(**settings: Any) -> KmipProvider:
        usual = {
            "type": "kmip",
            "name": "kms1",
            "host": "localhost",
            "port": server.port,
            "ca": str(credentials.ca),
            "certificate": str(credentials.certificate),
            "key": str(credentials.key),
            "timeout": TIMEOUT,
        }
        provider = configured.opened(KmipProvider, usual | settings, tmp_path)
        close_at_the_end(provider)
        return provider

    return open_provider
