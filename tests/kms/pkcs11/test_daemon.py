"""A daemon whose keys are in a token: who holds the module, and what becomes of it."""

import os
import signal
from pathlib import Path

import pytest

from tests.kms.pkcs11 import softhsm
from tests.kms.pkcs11.softhsm import Token
from tests.kms.pkcs11.waiting import ended
from tests.supervisor.harness import GET_RANDOM_8, STARTUP_CLEAR, execute, power_on, running


def holders(module: Path) -> dict[int, int]:
    """The processes that have loaded a module, and their parents."""
    found = {}
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdecimal() and str(module) in (directory / "maps").read_text():
                stat = (directory / "stat").read_text()
                found[int(directory.name)] = int(stat.rpartition(")")[2].split()[1])
        except OSError:  # it has ended, or is not ours to read
            continue
    return found


@pytest.mark.slow
def test_a_module_is_in_one_process_that_comes_and_goes(
    short_path: Path, token: Token, pin_file: Path
) -> None:
    # A module of this test's own, by its path: other tests run at the same time.
    module = short_path / "libsofthsm2.so"
    module.write_bytes(softhsm.module().read_bytes())
    configuration = f"""\
sockets: {{data_socket: true}}
key_providers:
  - type: pkcs11
    name: hsm
    module: {module}
    token: {token.label}
    pin_file: {pin_file}
    environment: {token.environment}
"""
    with running(short_path, configuration) as daemon:
        info = daemon.control("create", "web1")
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        ((child, parent),) = holders(module).items()
        assert parent == daemon.process()

        pidfd = os.pidfd_open(child)
        os.kill(child, signal.SIGKILL)
        ended(pidfd)
        pin_file.write_text("wrong\n")
        assert execute(info, GET_RANDOM_8)[0] == 0
        assert daemon.ctl("stop", "web1").returncode == 0
        assert daemon.ctl("start", "web1").returncode != 0
        locked = daemon.control("info", "web1")
        assert locked["state"] == "locked"
        assert "does not accept the PIN" in locked["reason"]
        assert holders(module) == {}

        pin_file.write_text(f"{softhsm.PIN}\n")
        daemon.ctl("unlock", "web1")
        info = daemon.until("web1", lambda info: info if info["state"] == "running" else None)
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0

        (child,) = holders(module)
        pidfd = os.pidfd_open(child)
        daemon.end(signal.SIGKILL)
        ended(pidfd)
        assert execute(info, GET_RANDOM_8)[0] == 0
