"""Where the PIN and the DEK do not show, where the module is not, and what ends with the daemon."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.kms.pkcs11.conftest import OpenProvider, children
from tests.kms.pkcs11.softhsm import PIN, Faulty, Token
from tests.kms.pkcs11.waiting import ended, until
from vtpmd.kms.pkcs11.messages import REQUESTS, Open, Unwrapped, Wrap
from vtpmd.kms.pkcs11.pin import PinFile

DAEMON = """
import json, sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID
import trio
from vtpmd.kms.registry import check
from vtpmd.kms.provider import KeyContext

async def main():
    provider = check(json.loads(sys.argv[1])).open(Path("/"))
    context = KeyContext(UUID(int=5), bytes(16))
    slot = await provider.wrap(bytes(32), context)
    assert await provider.unwrap(slot, context) == bytes(32)
    loaded = [name for name in sys.modules if name.split(".")[0] == "pkcs11"]
    mapped = "softhsm" in Path("/proc/self/maps").read_text()
    print(json.dumps([(await provider.describe())["pid"], loaded, mapped]), flush=True)
    sys.stdin.readline()
    await provider.check()

trio.run(main)
"""


async def test_no_process_shows_a_secret(open_provider: OpenProvider, shared_token: Token) -> None:
    before = children()
    provider = open_provider()
    pid = int((await provider.describe())["pid"])
    assert children() - before == {pid}
    command, environment, limits = (_of_process(pid, n) for n in ("cmdline", "environ", "limits"))
    shown = command + environment
    assert PIN.encode() not in shown
    if environment:
        names = {entry.split(b"=")[0].decode() for entry in environment.split(b"\0") if entry}
        own = {"HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TZ"}
        assert names - own == set(shared_token.environment)
    assert b"Max core file size        0                    0 " in limits


def _of_process(pid: int, name: str) -> bytes:
    """A file of /proc; empty if we may not read it, as of a process that is not dumpable."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except PermissionError:
        return b""


def test_no_message_shows_a_secret(pin_file: Path) -> None:
    secret = bytearray(b"secret-octets-of-a-key")
    for message in (
        Open("/module.so", "token", "", (), secret),
        Wrap("base", True, secret, b""),
        Unwrapped(secret),
    ):
        assert "secret" not in repr(message)
    assert REQUESTS.decode(REQUESTS.encode(Wrap("base", True, secret, b""))) == Wrap(
        "base", True, secret, b""
    )
    file = PinFile(pin_file)
    file.refuse(file.read())
    assert PIN not in repr(vars(file))


async def test_the_module_is_not_in_the_daemon_and_ends_with_it(
    token: Token, faulty: Faulty, pin_file: Path
) -> None:
    settings = {
        "type": "pkcs11",
        "name": "hsm",
        "module": str(faulty.path),
        "token": token.label,
        "pin_file": str(pin_file),
        "environment": token.environment | faulty.environment,
    }
    with _daemon(settings) as daemon:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        pid, loaded, mapped = json.loads(daemon.stdout.readline())
        assert (loaded, mapped) == ([], False)
        pidfd = os.pidfd_open(pid)
        # While the module hangs, its process does not see that the daemon is gone.
        before = faulty.calls("C_FindObjectsInit")
        faulty.order("C_FindObjectsInit hang")
        daemon.stdin.write(b"\n")
        daemon.stdin.flush()
        await until(lambda: faulty.calls("C_FindObjectsInit") > before)
        daemon.send_signal(signal.SIGKILL)
    ended(pidfd)


def _daemon(settings: Mapping[str, object]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", DAEMON, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
