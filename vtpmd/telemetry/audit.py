"""The audit log: every request of an administrator and every use of a key, as one JSON line each.

Without a file the lines are part of the log. A file is opened anew for each line, so that it can be
renamed away at any time, and only if it is a regular file that nobody else may write to.
"""

import contextvars
import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .log import get_logger, withhold_secrets

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OTHERS_MAY_WRITE = 0o022

REFUSALS = frozenset({"connection-refused", "connections-refused"})
"""Events that somebody should look at, who watches the log for warnings."""

_actor: contextvars.ContextVar[dict[str, int]] = contextvars.ContextVar("actor")

log = get_logger("audit")


@contextmanager
def acting(uid: int, pid: int) -> Iterator[None]:
    """What is recorded inside is done for process `pid` of user `uid`."""
    token = _actor.set({"uid": uid, "pid": pid})
    try:
        yield
    finally:
        _actor.reset(token)


def acting_alone() -> None:
    """What this task records from now on the daemon does by itself."""
    _actor.set({})


class Audit:
    """Records events; `file` is where, the log if it is None."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    def record(self, event: str, **fields: object) -> None:
        """Write one line; a line that cannot be written is logged as such and hinders nothing."""
        entry = withhold_secrets(None, "", {**fields, **_actor.get({})})
        if self._file is None:
            tell = log.warning if event in REFUSALS else log.info
            tell(event, **entry)
            return
        time = datetime.now(UTC).isoformat()
        line = json.dumps({"time": time, "event": event, **entry}, default=str) + "\n"
        try:
            _append(self._file, line.encode())
        except OSError as error:
            log.error("audit-failed", file=str(self._file), reason=error.strerror, entry=entry)

    def check(self) -> None:
        """Raise OSError unless the file can be written."""
        if self._file is not None:
            _append(self._file, b"")


def _append(file: Path, line: bytes) -> None:
    fd = os.open(file, _FLAGS, 0o600)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is not a regular file")
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
            raise OSError(0, "others may write to it")
        if os.write(fd, line) < len(line):
            os.ftruncate(fd, status.st_size)  # half a line would spoil the next one, too
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)
