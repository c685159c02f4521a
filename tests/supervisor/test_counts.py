"""What workers say they have counted: added once, never taken away, and never a label of theirs."""

from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from vtpmd.ipc.messages import StatusReply
from vtpmd.ipc.tally import LATENCY_BOUNDS, RESPONSE_CLASSES
from vtpmd.supervisor.counts import Counts
from vtpmd.supervisor.tally import Tally, count_event
from vtpmd.telemetry.metrics import Metrics

SAYS = StatusReply(UUID(int=1), "web1")
NUMBERS = st.integers(0, 2**63 - 1)


class Speaker:
    """A worker as far as counts go."""

    def __init__(self, fresh: bool = True) -> None:
        self.fresh = fresh
        self.counts: Counts | None = None

    def say(self, **fields: object) -> None:
        self.counts = Counts.of(replace(SAYS, **fields))  # type: ignore[arg-type]


def taken(tally: Tally, speaker: Speaker) -> int:
    tally.take(speaker)  # type: ignore[arg-type]
    return tally.counts.commands


def test_what_is_new_is_added_once() -> None:
    tally, worker = Tally(Metrics(), "default-v1"), Speaker()
    assert taken(tally, worker) == 0
    worker.say(responses={"success": 5})
    assert [taken(tally, worker), taken(tally, worker)] == [5, 5]
    worker.say(responses={"success": 7, "lockout": 1})
    assert taken(tally, worker) == 8
    successor = Speaker()
    successor.say(responses={"success": 2})
    assert taken(tally, successor) == 10


def test_of_an_adopted_worker_only_what_it_counts_from_now_on() -> None:
    tally, worker = Tally(Metrics(), "default-v1"), Speaker(fresh=False)
    worker.say(responses={"success": 1000})
    assert taken(tally, worker) == 0
    worker.say(responses={"success": 1003})
    assert taken(tally, worker) == 3


def test_a_worker_makes_no_labels_and_no_histogram() -> None:
    metrics = Metrics()
    tally, worker = Tally(metrics, "default-v1 without SHA1"), Speaker()
    worker.say(responses={"success": 1, "evil": 7}, latencies=(1, 2))
    assert taken(tally, worker) == 1
    count_event(metrics, "evil")
    text = metrics.exposition([]).decode()
    assert "evil" not in text
    assert "SHA1" not in text
    assert 'vtpmd_worker_events_total{kind="unknown"} 1.0' in text
    assert 'vtpmd_tpm_command_seconds_count{profile="default-v1"} 0.0' in text


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=5))
def test_nothing_is_ever_taken_away(said: list[tuple[int, int, int]]) -> None:
    tally, worker = Tally(Metrics(), "default-v1"), Speaker()
    before = 0
    for commands, busy, writes in said:
        latencies = (commands,) * (len(LATENCY_BOUNDS) + 1)
        responses = {RESPONSE_CLASSES[0]: commands}
        worker.say(responses=responses, latencies=latencies, busy=busy, nv_writes=writes)
        after = taken(tally, worker)
        assert before <= after <= before + 10**9
        before = after
