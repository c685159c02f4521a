"""What an engine needs of its host: the time and entropy."""

import os
import time


def now() -> int:
    """Milliseconds of the monotonic clock."""
    return time.monotonic_ns() // 1_000_000


def entropy(count: int) -> bytes:
    """Random octets from the kernel: forked siblings share no generator state."""
    return os.urandom(count)
