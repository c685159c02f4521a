"""Descriptors by number."""

import os
from collections.abc import Sequence
from contextlib import suppress


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
