"""Descriptors 0 to 2: never free, and the null device where nothing is to be told."""

import subprocess
import sys


def _run(script: str) -> str:
    report = (
        "import fcntl, os, sys\nfrom vtpmd.linux import streams\n"
        f"{script}\n"
        "print([(os.readlink(f'/proc/self/fd/{fd}'), fcntl.fcntl(fd, fcntl.F_GETFL) & 3) "
        "for fd in (0, 1, 2)], file=os.fdopen(os.dup(told), 'w'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import os; told = os.dup(1)\n" + report],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


SILENT = "[('/dev/null', 0), ('/dev/null', 1), ('/dev/null', 1)]\n"


def test_silent_streams_lead_nowhere() -> None:
    assert _run("streams.silence_streams()") == SILENT


def test_closed_streams_are_not_left_to_what_is_opened_next() -> None:
    assert _run("os.closerange(0, 3); streams.occupy_streams(); os.fstat(2)") == SILENT


def test_open_streams_stay_what_they_are() -> None:
    assert "pipe:" in _run("os.close(0); streams.occupy_streams()")


def test_streams_of_a_daemon_are_inherited_by_what_it_executes() -> None:
    script = "os.closerange(0, 3); streams.occupy_streams(); told = told if all("
    assert _run(script + "os.get_inheritable(fd) for fd in (0, 1, 2)) else None") == SILENT
