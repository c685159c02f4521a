"""A worker that has no descriptor left goes on with the clients it has, and takes others later."""

import resource
import select
from pathlib import Path

from tests.worker.harness import Host, connect, control, wait_for


def test_who_comes_while_no_descriptor_is_left_is_served_later(host: Host) -> None:
    worker = host.serve()
    with connect(host.control_path) as early:
        assert control(early, 0x01, length=8)[:4] == bytes(4)
        _, most = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        lowest = min(set(range(256)) - {int(fd.name) for fd in _descriptors(worker.pid)})
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (lowest, most))
        with connect(host.control_path) as late:
            late.sendall(b"\0\0\0\1")
            begun = _ticks(worker.pid)
            assert not select.select([late], [], [], 0.5)[0]
            assert _ticks(worker.pid) - begun < 20  # of 50: it rests, and doesn't try all the time
            assert control(early, 0x01, length=8)[:4] == bytes(4)
            assert worker.status().clients == 1
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (most, most))
            assert late.recv(8)[:4] == bytes(4)
            wait_for(lambda: worker.status().clients == 2)


def _descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


def _ticks(pid: int) -> int:
    """The processor time it has used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
