"""A daemon whose keys are at PyKMIP's server, which comes and goes."""

from pathlib import Path

import pytest

from tests.kms.certificates import Authority
from tests.kms.kmip.pykmip import Server
from tests.supervisor.harness import GET_RANDOM_8, STARTUP_CLEAR, execute, power_on, running
from vtpmd.kms.tls import Credentials


@pytest.mark.slow
def test_a_running_machine_does_not_need_the_key_server(
    short_path: Path, authority: Authority, credentials: Credentials, tmp_path: Path
) -> None:
    server = Server(tmp_path, authority.certificate, authority.server("localhost"))
    server.start()
    configuration = f"""\
sockets: {{data_socket: true}}
key_providers:
  - type: kmip
    name: kms
    host: localhost
    port: {server.port}
    ca: {credentials.ca}
    certificate: {credentials.certificate}
    key: {credentials.key}
    mode: encrypt
"""
    with running(short_path, configuration) as daemon:
        try:
            info = daemon.control("create", "web1")
        finally:
            server.stop()
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        assert execute(info, GET_RANDOM_8)[0] == 0
        assert daemon.control("info", "web1")["state"] == "running"

        assert daemon.ctl("stop", "web1").returncode == 0
        assert daemon.ctl("start", "web1").returncode != 0
        info = daemon.control("info", "web1")
        assert info["state"] == "locked"
        assert f"localhost:{server.port} cannot be reached: Connection refused" in info["reason"]

        server.start()
        try:
            daemon.ctl("unlock", "web1")
            info = daemon.until("web1", lambda info: info if info["state"] == "running" else None)
        finally:
            server.stop()
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
