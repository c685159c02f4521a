"""What a supervisor needs of memory."""

import re
from pathlib import Path

from tests.peers.vtpmd import Vtpmd


def peak_memory(daemon: Vtpmd) -> int:
    """The most memory that the supervisor has ever had, in bytes."""
    status = Path(f"/proc/{daemon.process()}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match is not None
    return int(match[1]) << 10
