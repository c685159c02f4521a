"""The description of the admin interface: valid, whole, and true of the daemon that serves it."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from requests.adapters import HTTPAdapter
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from tests.supervisor.conftest import root
from tests.supervisor.harness import Daemon, running
from vtpmd.admin.openapi import document
from vtpmd.admin.routes import HANDLERS
from vtpmd.api import names, problems
from vtpmd.client import Client

__all__ = ["root"]

schemathesis.serializer(names.TICKET_MEDIA_TYPE, names.BUNDLE_MEDIA_TYPE)(
    lambda _, value: json.dumps(value).encode()
)

DOCUMENT: dict[str, Any] = json.loads(document(HANDLERS))
OPERATIONS = {
    each["operationId"]: (path, method)
    for path, methods in DOCUMENT["paths"].items()
    for method, each in methods.items()
}
CHECKS = [
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
EXAMPLES = 4


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_it_has_every_operation_once() -> None:
    described = {(path, method) for path, method in OPERATIONS.values()}
    assert described == {(route.path, route.method.lower()) for route in HANDLERS}
    assert len(OPERATIONS) == len(HANDLERS)


def test_it_is_told_to_people_and_tells_them_nothing_of_our_functions() -> None:
    for path, method in OPERATIONS.values():
        told = DOCUMENT["paths"][path][method]
        assert told["summary"]
        assert "Raises" not in told["summary"] + told["description"]
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name


def test_every_kind_of_failure_is_named() -> None:
    described = DOCUMENT["components"]["schemas"]["Problem"]["description"]
    assert all(f"{code} (" in described for code in problems.PROBLEMS)


class _Connection(HTTPConnection):
    """To the admin socket, whose path stands for the host."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(_Pool.path)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection
    path = ""


class _Unix(HTTPAdapter):
    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return _Pool("vtpmd")


def session(path: Path) -> requests.Session:
    """One that speaks to the admin socket whatever the host's name."""
    _Pool.path = str(path)
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", _Unix())
    return made


@pytest.fixture(scope="module")
def described() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory, running(Path(directory)) as it:
        it.create("web1")
        yield it


@pytest.mark.served
def test_the_daemon_serves_it(described: Daemon) -> None:
    client = Client(str(described.admin))
    assert json.loads(client.openapi()) == DOCUMENT


@pytest.mark.served
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_daemon_does_as_it_says(described: Daemon, operation: str) -> None:
    """Whatever fits the description, and what does not, gets an answer that fits it."""
    path, method = OPERATIONS[operation]
    speaking = session(described.admin)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url="http://vtpmd")
    endpoint = schema[path][method]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=endpoint.as_strategy())
    def follows(case: Any) -> None:
        answer = case.call(session=speaking)
        case.validate_response(answer, checks=CHECKS)

    follows()
