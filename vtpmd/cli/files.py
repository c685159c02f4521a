"""Files that vtpmctl reads and writes for its user; `-` is standard input or output.

Whatever fails with them is a ClientError of the problem FILE.
"""

import contextlib
import os
import sys
from pathlib import Path

from vtpmd.api.errors import FILE, ClientError


def refused(path: Path, reason: str) -> ClientError:
    """The error that a file cannot be read, written, or be what it should be."""
    return ClientError(FILE, f"{path}: {reason}")


def is_standard(path: Path) -> bool:
    """Whether it stands for standard input or output."""
    return str(path) == "-"


def read(path: Path, limit: int) -> bytes:
    """The content of a file. Raises ClientError, also if it has more than `limit` bytes."""
    content = read_some(path, limit + 1)
    if len(content) > limit:
        raise refused(path, f"larger than {limit} bytes")
    return content


def read_some(path: Path, size: int) -> bytes:
    """At most `size` bytes from the beginning of a file. Raises ClientError."""
    try:
        with sys.stdin.buffer if is_standard(path) else path.open("rb") as file:
            return file.read(size)
    except ValueError:
        raise refused(path, "standard input was read already") from None
    except OSError as error:
        raise refused(path, error.strerror or str(error)) from None


def check_absent(path: Path) -> None:
    """Raise ClientError unless `write` could make this file."""
    if not is_standard(path) and os.path.lexists(path):
        raise refused(path, "it exists, and is not overwritten")


def write(path: Path, content: bytes) -> None:
    """Make a new file (mode 0600), durable when this returns. An existing one is left alone.

    Raises ClientError, and leaves no file then; OSError for standard output.
    """
    if is_standard(path):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:  # noqa: PTH123
            try:
                _write_all(file.fileno(), content)
                os.fsync(file.fileno())
                _make_durable(path.parent)
            except OSError:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise
    except OSError as error:
        raise refused(path, error.strerror or str(error)) from None


def remove(path: Path) -> None:
    """Remove a file that `write` has made, if that is possible."""
    if not is_standard(path):
        with contextlib.suppress(OSError):
            path.unlink()


def make_directory(path: Path) -> None:
    """Make a directory (mode 0700) unless it is there. Raises ClientError."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise refused(path, error.strerror or str(error)) from None


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _make_durable(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
