"""sd_notify(3) over a real socket."""

import os
import socket
from pathlib import Path

import pytest

from vtpmd.linux.notify import notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_notifications_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    path = f"@vtpmd-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify("READY=1\nSTATUS=ok")
        assert manager.recv(100) == b"READY=1\nSTATUS=ok"


@pytest.mark.parametrize("path", ["", "/nonexistent/notify"])
def test_no_manager_is_no_failure(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "interval"),
    [("20000000", "", 10.0), ("0", "", None), ("x", "", None), ("", "", None), ("9", "1", None)],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, interval: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert watchdog_interval() == interval
