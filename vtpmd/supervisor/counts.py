"""What workers say they have counted, as far as it can be believed, and how much is new of it."""

from dataclasses import dataclass

from vtpmd.ipc.messages import StatusReply
from vtpmd.ipc.tally import LATENCY_BOUNDS, RESPONSE_CLASSES

_NO_RESPONSES = (0,) * len(RESPONSE_CLASSES)
_NO_LATENCIES = (0,) * (len(LATENCY_BOUNDS) + 1)
_MOST = 10**9  # that is believed to have been added between two reports


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one worker's commands: by class of response, by latency, microseconds, what was stored."""

    responses: tuple[int, ...] = _NO_RESPONSES
    latencies: tuple[int, ...] = _NO_LATENCIES
    busy: int = 0
    nv_writes: int = 0

    @classmethod
    def of(cls, status: StatusReply) -> "Counts":
        """Those in a report, without what we do not know: it may be in the hands of its guest."""
        known = len(status.latencies) == len(_NO_LATENCIES)
        return cls(
            tuple(status.responses.get(name, 0) for name in RESPONSE_CLASSES),
            status.latencies if known else _NO_LATENCIES,
            status.busy,
            status.nv_writes,
        )

    @property
    def commands(self) -> int:
        """How many there were."""
        return sum(self.responses)

    def since(self, earlier: "Counts") -> "Counts":
        """What has been added to `earlier` ones of the same worker; nothing is ever taken away."""
        return Counts(
            _more(self.responses, earlier.responses),
            _more(self.latencies, earlier.latencies),
            _added(self.busy, earlier.busy),
            _added(self.nv_writes, earlier.nv_writes),
        )

    def __add__(self, more: "Counts") -> "Counts":
        return Counts(
            tuple(map(sum, zip(self.responses, more.responses, strict=True))),
            tuple(map(sum, zip(self.latencies, more.latencies, strict=True))),
            self.busy + more.busy,
            self.nv_writes + more.nv_writes,
        )


def _more(now: tuple[int, ...], earlier: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_added(new, old) for new, old in zip(now, earlier, strict=True))


def _added(now: int, earlier: int) -> int:
    return min(max(0, now - earlier), _MOST)
