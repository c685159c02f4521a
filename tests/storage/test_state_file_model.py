"""Any order of saves, failures, crashes and power cuts: a state file gives what its model says."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.storage.simulated import VM, Disk, Fault, KilledError, fresh
from vtpmd.storage.errors import StorageError
from vtpmd.storage.state_file import StateFile

sizes = st.integers(1, 2500)
sectors = st.sets(st.integers(0, 5)) | st.just(set(range(6)))


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    """A write that fails or is killed; of what reached the cache a part reached the disk."""
    cached = draw(sectors)
    stable = draw(st.sets(st.sampled_from(sorted(cached)))) if cached else set()
    return Fault(draw(st.sampled_from([OSError, KilledError])), cached, stable)


class StateFileMachine(RuleBasedStateMachine):
    """`possible` is what a load may give: the last acknowledged state, or one that came after."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.possible: set[bytes | None] = set()
        self.number = 0

    def content(self, size: int) -> bytes:
        self.number += 1
        return (b"%d." % self.number) * (size // 4 + 1)

    @initialize(size=st.integers(0, 2500))
    def make(self, size: int) -> None:
        content = self.content(size) if size else b""
        self.disk = fresh(content)
        self.possible = {content or None}
        self.open()

    def open(self) -> None:
        self.file = StateFile(self.disk, VM, "nvram")
        self.current = self.file.load().content
        assert self.current in self.possible
        self.clean = True  # no save of this process has failed since its last load or save

    def attempt(self, content: bytes | None, faults: list[Fault | None]) -> None:
        """Save `content`, or clear: what was read before is written first, and is then certain."""
        self.disk.faults = list(faults)
        before = self.possible
        self.possible = before | {content, self.current}
        try:
            if content is None:
                self.file.clear()
            else:
                self.file.save(content)
        except StorageError:
            self.clean = False
            return
        except KilledError:
            self.open()
            return
        finally:
            self.disk.faults = []
        self.possible = {content}
        self.current = content
        self.clean = True

    @rule(size=sizes)
    def save(self, size: int) -> None:
        self.attempt(self.content(size), [])

    @rule(size=sizes, after=st.integers(0, 1), fault=faults())
    def save_and_fail(self, size: int, after: int, fault: Fault) -> None:
        self.attempt(self.content(size), [*[None] * after, fault])

    @rule()
    def clear(self) -> None:
        self.attempt(None, [])

    @rule(after=st.integers(0, 2), fault=faults())
    def clear_and_fail(self, after: int, fault: Fault) -> None:
        self.attempt(None, [*[None] * after, fault])

    @rule()
    def settle(self) -> None:
        self.file.settle()
        if self.clean:
            self.possible = {self.current}

    @rule()
    def be_killed(self) -> None:
        self.open()

    @rule()
    def lose_power(self) -> None:
        self.disk.lose_power()
        self.open()
        self.possible = {self.current}

    @invariant()
    def every_reader_gets_a_possible_state(self) -> None:
        if not self.possible:
            return
        for powerless in (False, True):
            disk = self.disk.copy()
            if powerless:
                disk.lose_power()
            loaded = StateFile(disk, VM, "nvram").load()
            assert loaded.content in self.possible
            assert loaded.condition != "damaged"


TestStateFile = StateFileMachine.TestCase
TestStateFile.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
