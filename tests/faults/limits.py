"""Limits of a process that runs already."""

import os
import re
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def limit(pid: int, name: str, most: str) -> None:
    """Set a process's soft limit (prlimit's name for it) as its own user.

    That one alone may without CAP_SYS_RESOURCE.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    user, group = (re.findall(rf"^{each}:\t(\d+)", status, re.M)[0] for each in ("Uid", "Gid"))
    become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    command = ["prlimit", f"--pid={pid}", f"--{name}={most}:"]
    subprocess.run([*(become if os.geteuid() == 0 else ()), *command], check=True)


def soft_limit(pid: int, name: str) -> str:
    """A process's soft limit, by its name in /proc: "Max open files"."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    return str(re.findall(rf"^{name} +(\S+)", limits, re.M)[0])


@contextmanager
def starved() -> Iterator[None]:
    """This process gets no descriptor any more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
