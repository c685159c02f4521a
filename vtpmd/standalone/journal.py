"""The log of a process that has no daemon to tell."""

import io
import os
from contextlib import suppress
from typing import Any, TextIO

from vtpmd.telemetry import log

from .options import Log

_MODE = 0o640


class _Lines:
    """A stream whose lines begin with a prefix."""

    def __init__(self, fd: int, prefix: str) -> None:
        self._fd = fd
        self._prefix = prefix

    def write(self, text: str) -> int:
        line = text if text == "\n" else f"{self._prefix}{text}"
        with suppress(OSError):  # a log that is full, or as large as a file may be, stops no TPM
            os.write(self._fd, line.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        """Whoever asks would write past the prefix. Raises OSError."""
        raise io.UnsupportedOperation


def open_log(settings: Log) -> Any:
    """A logger as `--log` asks for it. Raises OSError."""
    stream: TextIO = _Lines(_open(settings), settings.prefix)  # type: ignore[assignment]
    log.configure(settings.level, "console", stream)
    return log.get_logger("standalone")


def _open(settings: Log) -> int:
    if isinstance(settings.target, int):
        os.fstat(settings.target)  # whoever names a descriptor that is not there shall know at once
        return settings.target
    truncate = os.O_TRUNC if settings.truncate else 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | truncate
    return os.open(settings.target or os.devnull, flags, _MODE)
