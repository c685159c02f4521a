"""A daemon whose keys are in OpenBao, which is sealed and unsealed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kms.vault.bao import Bao
from tests.supervisor.harness import GET_RANDOM_8, STARTUP_CLEAR, execute, power_on, running


@pytest.mark.slow
def test_a_sealed_server_locks_who_starts_and_nobody_else(
    short_path: Path, bao: Bao, secret: Callable[[str], Path]
) -> None:
    configuration = f"""\
sockets: {{data_socket: true}}
key_providers:
  - type: vault
    name: bao
    url: {bao.url}
    ca: {bao.ca}
    auth:
      method: approle
      role_id: {bao.role_id("instance")}
      secret_id_file: {secret(bao.secret_id("instance"))}
"""
    with running(short_path, configuration) as daemon:
        info = daemon.control("create", "web1")
        bao.ask("POST", "sys/seal")
        try:
            power_on(info)
            assert execute(info, STARTUP_CLEAR)[0] == 0
            assert execute(info, GET_RANDOM_8)[0] == 0
            assert daemon.ctl("stop", "web1").returncode == 0
            assert daemon.ctl("start", "web1").returncode != 0
            info = daemon.control("info", "web1")
        finally:
            bao.unseal()
        assert info["state"] == "locked"
        assert "is sealed: unseal it" in info["reason"]
        daemon.ctl("unlock", "web1")
        info = daemon.until("web1", lambda info: info if info["state"] == "running" else None)
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
