"""How much memory a process has of its own."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def private_memory(pid: int) -> int:
    """Octets in memory that no file is behind, 0 for a process that is gone.

    What it shares with its parent since the fork is counted as well.
    """
    try:
        _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    except OSError:
        return 0
    return max(0, resident - shared) * _PAGE
