"""`condition.json`: which state an instance was in, why and since when, for the next daemon.

It is told to people, and nothing is decided by it: what is missing, damaged or of a newer format
says nothing. The rules by which it may grow are those of `meta.json`.
"""

import json
import os

from vtpmd.api.names import STATES
from vtpmd.encoding.moment import moment
from vtpmd.storage.atomic import write_all
from vtpmd.storage.files import storage_error

from .states import Condition

CONDITION = "condition.json"
FORMAT = 1
MAX_SIZE = 64 << 10
"""The most octets of this file."""
_MAX_REASON = 4096
_NEW = f".{CONDITION}"
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def encode(condition: Condition) -> bytes:
    """The file's content; of a long reason the beginning."""
    content = {
        "format": FORMAT,
        "state": condition.state,
        "reason": condition.reason[:_MAX_REASON],
        "since": condition.since.isoformat(),
    }
    return json.dumps(content, indent=2).encode() + b"\n"


def write(dir_fd: int, condition: Condition) -> None:
    """Replace the file, which need not be durable. Raises StorageError."""
    try:
        fd = os.open(_NEW, _FLAGS, 0o600, dir_fd=dir_fd)
        try:
            write_all(fd, encode(condition), 0)
        finally:
            os.close(fd)
        os.replace(_NEW, CONDITION, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError as error:
        raise storage_error(f"write {CONDITION}", error) from None


def decode(data: bytes) -> Condition | None:
    """What a file's content says, None if that is nothing."""
    try:
        content = json.loads(data)
        found = content["format"], content["state"], content["reason"]
        since = moment(content["since"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    format_, state, reason = found
    if type(format_) is not int or format_ != FORMAT or state not in STATES:
        return None
    if type(reason) is not str or len(reason) > _MAX_REASON or not reason.isprintable():
        return None
    return Condition(state, reason, since)
