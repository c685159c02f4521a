"""One moto server for all tests of a process, keys in it, and providers that use it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from tests.kms import configured
from tests.kms.certificates import Authority
from tests.kms.closing import close_at_the_end
from tests.kms.server_process import ServerProcess, free_port
from vtpmd.kms.aws_kms.provider import AwsKmsProvider

REGION = "eu-central-1"
TIMEOUT = 30.0  # of real servers on a busy machine; hanging ones are tested with a clock of ours
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

Opener = Callable[..., AwsKmsProvider]


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[str]:
    """The address of a moto server."""
    pair, port = authority.server("localhost"), free_port()
    program = "from moto.server import main; main()"
    arguments = ["-s", "-c", str(pair.certificate), "-k", str(pair.key), "-p", str(port)]
    output = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    process = ServerProcess(command, port, output)
    yield f"https://localhost:{port}"
    process.stop()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials from the environment and from nowhere else."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))


@pytest.fixture
def administrator(moto: str, authority: Authority, _credentials: None) -> Iterator[Any]:
    """A client of our own."""
    ca = str(authority.certificate)
    session = botocore.session.Session()
    client = session.create_client("kms", region_name=REGION, endpoint_url=moto, verify=ca)
    yield client
    client.close()


@pytest.fixture
def key(administrator: Any) -> str:
    """The ARN of a new key."""
    return str(administrator.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def opened(authority: Authority, tmp_path: Path) -> Opener:
    """Opens providers, and closes them when the test is over."""

    def open_provider(endpoint: str, key: str | None = None, **more: Any) -> AwsKmsProvider:
        settings = {
            "type": "aws-kms",
            "name": "aws1",
            "region": REGION,
            "endpoint": endpoint,
            "ca": str(authority.certificate),
            "timeout": TIMEOUT,
            **({"key_name": key} if key else {"key_scope": "instance"}),
            **more,
        }
        provider = configured.opened(AwsKmsProvider, settings, tmp_path)
        close_at_the_end(provider)
        return provider

    return open_provider
