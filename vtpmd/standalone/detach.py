"""In the foreground or detached: who hears whether it worked, and where the process id goes."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vtpmd.api.text import printable

_READY = b"\0"


class Outcome(Protocol):
    """Who waits for the start to succeed. `failed` may also come later, when nobody waits."""

    def ready(self) -> None: ...
    def failed(self, reason: str) -> None: ...


class Foreground:
    """Nobody waits; failures go to standard error."""

    def ready(self) -> None:
        pass

    def failed(self, reason: str) -> None:
        print(printable(reason), file=sys.stderr, flush=True)


class Detached:
    """The process that was started: it ends when this one is ready, and says why if it is not."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def ready(self) -> None:
        self._tell(_READY)

    def failed(self, reason: str) -> None:
        self._tell(reason.encode())

    def _tell(self, text: bytes) -> None:
        if self._pipe < 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, text)
        os.close(self._pipe)
        self._pipe = -1


def detach() -> Detached:
    """Go on in a child of its own session, without standard streams. The parent never returns."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        os._exit(_await(reader))
    os.close(reader)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)
    return Detached(writer)


def _await(reader: int) -> int:
    said = b""
    while part := os.read(reader, 4096):
        said += part
    if said == _READY:
        return 0
    Foreground().failed(said.decode(errors="replace") or "the process ended before it was ready")
    return 1


def write_pid(target: Path | int, remember: Callable[[Path], None]) -> None:
    """Write our process id; `remember` a file, which is removed at the end. Raises OSError."""
    line = b"%d\n" % os.getpid()
    if isinstance(target, int):
        os.write(target, line)
        os.close(target)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(target, flags, 0o644)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)
    remember(target)
