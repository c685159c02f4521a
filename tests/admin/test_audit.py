"""What the audit file says about requests: who asked for what, and what became of it."""

import json
import os
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

from .strangers import needs_root, open_directory

__all__ = ["open_directory"]

NOBODY = 65534
ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(f"{sys.argv[2]} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n".encode())
    print(s.recv(20).decode()[9:12])
"""


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


@needs_root
@pytest.mark.parametrize("reads", [True, False])
async def test_each_request_is_recorded_with_its_outcome(open_directory: Path, reads: bool) -> None:
    nothing, directory = cast("Any", None), open_directory
    file = directory / "audit"
    configuration = Configuration.model_validate(
        {"state_dir": str(directory / "state"), "runtime_dir": str(directory)}
    )
    fleet, audit = (
        Fleet(Host(configuration, nothing, nothing, nothing, nothing, nothing, nothing)),
        Audit(file),
    )
    with sockets.listen(directory / "admin.sock", mode=0o666) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Server(Routes(fleet, audit, reads), None, audit).serve, listener)
            done = await ask(directory, "GET /v1/instances")
            refused = await ask(directory, "POST /v1/instances/web1/start")
            forbidden = await ask(directory, "POST /v1/instances/web1/stop", NOBODY)
            for _ in range(3):
                await ask(directory, "POST /v1/instances/web1/stop", NOBODY)
            nursery.cancel_scope.cancel()
    assert [status for status, _ in (done, refused, forbidden)] == [200, 404, 403]
    expected = [
        ("list", "", "done", os.geteuid(), done[1]),
        ("start", "web1", "not-found", os.geteuid(), refused[1]),
    ]
    *requests, first, others = lines(file)
    recorded = [
        tuple(line[key] for key in ("verb", "subject", "outcome", "uid", "pid"))
        for line in requests
    ]
    assert recorded == expected[0 if reads else 1 :]
    assert requests[-1]["reason"] == "There is no instance 'web1'."
    # Of those who may not connect, one line at once, and a count when the daemon ends.
    for line in (first, others):
        del line["time"]
    who = {"outcome": "forbidden", "uid": NOBODY}
    assert first == {"event": "connection-refused", **who, "pid": forbidden[1]}
    assert others.pop("seconds") >= 0
    assert others == {"event": "connections-refused", **who, "count": 3}
