"""What the audit file says about requests: who asked for what, and what became of it."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from vtpmd.admin.routes import Routes
from vtpmd.admin.server import Server
from vtpmd.config.schema import Configuration
from vtpmd.linux import sockets
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.telemetry.audit import Audit

NOBODY = 65534
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(f"{sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(s.recv(20).decode()[9:12])
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where every user may connect to a socket."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def ask(directory: Path, request: str, user: int | None = None) -> tuple[int, int]:
    """The status of the answer to a request of another process, and its process id."""
    options: dict[str, Any] = {} if user is None else {"user": user, "group": user}
    if user is not None:
        options["extra_groups"] = []
    command = ["/usr/bin/env", "python3", "-c", ASK, str(directory / "admin.sock"), request]
    process = await trio.lowlevel.open_process(command, stdout=-1, **options)
    assert process.stdout is not None
    said = b""
    async with process.stdout as stream:
        async for part in stream:
            said += part
    await process.wait()
    return int(said), process.pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("reads", [True, False])
async def test_each_request_is_recorded_with_its_outcome(
    nursery: trio.Nursery, directory: Path, reads: bool
) -> None:
    nothing, file = cast("Any", None), directory / "audit"
    configuration = Configuration.model_validate(
        {"state_dir": str(directory / "state"), "runtime_dir": str(directory)}
    )
    fleet, audit = Fleet(Host(configuration, nothing, nothing, nothing, nothing)), Audit(file)
    with sockets.listen(directory / "admin.sock", mode=0o666) as listener:
        nursery.start_soon(Server(Routes(fleet, audit, reads), None, audit).serve, listener)
        done = await ask(directory, "GET /v1/instances")
        refused = await ask(directory, "POST /v1/instances/web1/start")
        forbidden = await ask(directory, "POST /v1/instances/web1/stop", NOBODY)
        nursery.cancel_scope.cancel()
    assert [status for status, _ in (done, refused, forbidden)] == [200, 404, 403]
    expected = [
        ("list", "", "done", os.geteuid(), done[1]),
        ("start", "web1", "not-found", os.geteuid(), refused[1]),
        ("POST", "", "forbidden", NOBODY, forbidden[1]),
    ]
    recorded = [
        tuple(line[key] for key in ("verb", "subject", "outcome", "uid", "pid"))
        for line in lines(file)
    ]
    assert recorded == expected[0 if reads else 1 :]
    assert lines(file)[-2]["reason"] == "There is no instance 'web1'."
