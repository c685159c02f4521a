"""Asking a server for the state of a key, and how that fails."""

from typing import Any

import pytest

from tests.kms.closing import close_at_the_end
from tests.kms.kmip.conftest import TIMEOUT
from tests.kms.kmip.scripted import state_reply
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.kmip import operations
from vtpmd.kms.kmip.client import Client
from vtpmd.kms.kmip.constants import State
from vtpmd.kms.kmip.messages import Request
from vtpmd.kms.tls import Credentials

ASK_STATE = operations.get_state("1")
ACTIVE = State.ACTIVE
GOOD = state_reply()


def open_client(port: int, credentials: Credentials, host: str = "localhost") -> Client:
    """A client that is closed when the test is over."""
    client = Client(host, port, credentials, TIMEOUT)
    close_at_the_end(client)
    return client


async def failure(client: Client, request: Request[Any] = ASK_STATE) -> KeyUnavailableError:
    """How the request fails, without the words that every reason begins with."""
    with pytest.raises(KeyUnavailableError) as caught:
        await client.call(request)
    beginning = f"the KMIP server {client.server} "
    assert caught.value.reason.startswith(beginning)
    return KeyUnavailableError(caught.value.reason.removeprefix(beginning), caught.value.retry)
