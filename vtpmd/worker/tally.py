"""Counts of the commands that a worker has answered."""

from bisect import bisect_left

from vtpmd.ipc.tally import LATENCY_BOUNDS, class_of

_SUCCESS = class_of(0)
_NO_ERROR = bytes(4)


class Tally:
    """By class of response and by latency; `nanoseconds` of all, `nv_writes`: what was stored."""

    __slots__ = ("latencies", "nanoseconds", "nv_writes", "responses")

    def __init__(self) -> None:
        self.responses: dict[str, int] = {_SUCCESS: 0}
        self.latencies = [0] * (len(LATENCY_BOUNDS) + 1)
        self.nanoseconds = 0
        self.nv_writes = 0

    def add(self, response: bytes, nanoseconds: int) -> None:
        """Count a command with this response, which was answered in this time."""
        self.nanoseconds += nanoseconds
        self.latencies[bisect_left(LATENCY_BOUNDS, nanoseconds // 1000)] += 1
        code = response[6:10]
        if code == _NO_ERROR:
            self.responses[_SUCCESS] += 1
        else:
            name = class_of(int.from_bytes(code))
            self.responses[name] = self.responses.get(name, 0) + 1
