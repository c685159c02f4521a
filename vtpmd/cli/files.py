"""Files that vtpmctl reads and writes for its user; `-` is standard input or output."""

import os
import sys
from pathlib import Path

import click

from vtpmd.api import names


class FileProblem(click.FileError):
    """A file that cannot be read, written, or be what it should be."""

    exit_code = names.EXIT_FILE


def is_standard(path: Path) -> bool:
    """Whether it stands for standard input or output."""
    return str(path) == "-"


def read(path: Path, limit: int) -> bytes:
    """The content of a file. Ends vtpmctl if it cannot be read or has more than `limit` bytes."""
    try:
        with sys.stdin.buffer if is_standard(path) else path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise FileProblem(str(path), error.strerror) from None
    if len(content) > limit:
        raise FileProblem(str(path), f"larger than {limit} bytes")
    return content


def check_absent(path: Path) -> None:
    """End vtpmctl unless `write` could make this file."""
    if not is_standard(path) and os.path.lexists(path):
        raise FileProblem(str(path), "it exists, and is not overwritten")


def write(path: Path, content: bytes) -> None:
    """Make a new file (mode 0600), durable when this returns. An existing one is left alone."""
    if is_standard(path):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                _make_durable(path.parent)
            except OSError:
                path.unlink()
                raise
    except OSError as error:
        raise FileProblem(str(path), error.strerror) from None


def _make_durable(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
