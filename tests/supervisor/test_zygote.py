"""The zygote: where it takes its modules from."""

import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from vtpmd.supervisor.zygote import Zygote


async def test_nothing_is_imported_from_where_the_daemon_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("vtpmd", "cbor2", "socket"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    zygote = Zygote()
    try:
        child = await zygote.spawn(uuid4(), "web1")
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
        child.channel.close()
        os.close(child.pidfd)
    finally:
        zygote.close()
