"""The state of an instance through saves, crashes and a rekey that is cut at every step."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from tests.storage.simulated import OTHER_VM, VM, Disk, Fault, KilledError, fresh
from vtpmd.storage.device import FileDevice
from vtpmd.storage.envelope import parse, seal
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.received import Received
from vtpmd.storage.sealed import SealedState, rewrap
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_file import PLACE_SIZE, StateFile
from vtpmd.storage.state_files import create_state_files, opened_files

SLOTS = (Slot("local", "host", "kek", "a1b2", "A256GCM", b"\x55" * 60, 1_700_000_000),)
PERMANENT, VOLATILE = b"permanent" * 150, b"volatile" * 130
RECEIVED = Received(
    Header(VM, 9, "migration", bytes([9]) * 16, bytes(range(16)), 2), b"their own" * 50, b"and more"
)
STAGES: list[range] = [range(0), range(1), range(1, 99), range(99)]


def key(number: int) -> Key:
    return Key(bytearray([number]) * 32, bytes([number]) * 16, SLOTS)


def waiting(state: SealedState) -> bool:
    """Whether the received state is there, as it was received."""
    found = state.received()
    if found is None:
        return False
    header = replace(RECEIVED.header, kind="incoming", dek_id=state.key.dek_id)
    assert found == replace(RECEIVED, header=header)
    return True


class Host:
    """The files of one instance, and whoever has the keys."""

    def __init__(self, volatile: bytes | None = VOLATILE) -> None:
        first = Header(VM, 1, "permanent", key(1).dek_id)
        self.nvram = fresh(seal(key(1).dek, first, SLOTS, PERMANENT))
        self.volatile = fresh(role="volatile")
        self.incoming = fresh(role="incoming")
        state = self.open(key(1))
        state.load()
        if volatile is not None:
            state.load_volatile()
            state.save_volatile(volatile)
            state.receive(RECEIVED)

    @property
    def disks(self) -> tuple[Disk, Disk, Disk]:
        return self.nvram, self.volatile, self.incoming

    def open(self, key: Key, uuid: UUID = VM) -> SealedState:
        return SealedState(
            StateFile(self.nvram, uuid, "nvram"),
            StateFile(self.volatile, uuid, "volatile"),
            StateFile(self.incoming, uuid, "incoming"),
            uuid,
            key,
        )

    def copy(self) -> "Host":
        other = Host()
        other.nvram, other.volatile, other.incoming = (disk.copy() for disk in self.disks)
        return other

    def lose_power(self) -> None:
        for disk in self.disks:
            disk.lose_power()

    def started(self) -> tuple[SealedState, bytes, bytes | None]:
        """What the next process gets, with the key that nvram asks for."""
        for disk in self.disks:
            disk.faults.clear()
        content = StateFile(self.nvram, VM, "nvram").load().content
        assert content is not None
        state = self.open(key(parse(content).header.dek_id[0]))
        permanent = state.load()
        state.settle()
        return state, permanent, state.load_volatile()


def test_what_is_saved_is_loaded() -> None:
    host = Host(volatile=None)
    state, permanent, volatile = host.started()
    assert (permanent, volatile, state.header.generation) == (PERMANENT, None, 1)
    assert state.reserve()
    state.save(b"second")
    state.save_volatile(VOLATILE)
    state, permanent, volatile = host.started()
    assert (permanent, volatile, state.header.generation) == (b"second", VOLATILE, 2)
    state.clear_volatile()
    assert host.started()[1:] == (b"second", None)
    assert state.findings == []


def test_header_is_kept_until_it_is_changed() -> None:
    host = Host()
    state, *_ = host.started()
    branch = bytes(range(16))
    state.save(b"a", replace(state.header, branch=branch, epoch=4, handover="lent"))
    state.save(b"b")
    header = host.started()[0].header
    assert header == Header(VM, 3, "permanent", key(1).dek_id, branch, 4, "lent")


def test_failed_save_changes_nothing_that_is_believed() -> None:
    host = Host()
    state, *_ = host.started()
    host.nvram.faults = [Fault(OSError, range(1), range(1))]
    with pytest.raises(StorageError):
        state.save(b"second", replace(state.header, handover="away"))
    assert (state.header.generation, state.header.handover) == (1, "ours")
    state.save(b"second")
    state, permanent, _ = host.started()
    assert (permanent, state.header.generation, state.header.handover) == (b"second", 2, "ours")


def test_findings_are_kept() -> None:
    host = Host()
    host.nvram.put(PLACE_SIZE, b"\xff" * 512)
    host.volatile.put(0, host.volatile.read(PLACE_SIZE, 4096))
    state, *_ = host.started()
    kinds = [(finding.kind, finding.condition) for finding in state.findings]
    assert kinds == [("permanent", "interrupted"), ("volatile", "damaged")]


def test_nvram_without_a_state_is_damaged() -> None:
    host = Host()
    host.nvram = fresh()
    with pytest.raises(EnvelopeError, match="holds no state"):
        host.open(key(1)).load()


def test_what_was_loaded_is_durable() -> None:
    host = Host()
    state, *_ = host.started()
    host.nvram.faults = [Fault(KilledError, range(99), ())]
    with pytest.raises(KilledError):
        state.save(b"second")
    assert host.started()[1] == b"second"
    host.lose_power()
    assert host.started()[1] == b"second"


def test_where_nothing_can_be_written_state_is_loaded_and_nothing_is_promised() -> None:
    host = Host()
    state = host.open(key(1))
    host.nvram.faults = [Fault(OSError, (), ())] * 2
    assert state.load() == PERMANENT
    state.settle()
    assert not state.reserve()
    assert state.shortage == "cannot write nvram: Input/output error"
    assert state.reserve()
    state.save(b"second")
    assert host.started()[1] == b"second"


def test_rekey() -> None:
    for volatile in (VOLATILE, None):
        host = Host(volatile)
        state, *_ = host.started()
        old = state.key
        state.rekey(key(2), PERMANENT)
        assert old.dek == bytes(32)
        state, *found = host.started()
        assert state.key == key(2)
        assert found == [PERMANENT, volatile]
        assert waiting(state) is (volatile is not None)
        # Nothing is left that the old key opens.
        for disk, offset in itertools.product(host.disks, (0, PLACE_SIZE)):
            assert key(1).dek_id not in disk.read(offset, 8192)


def test_rekey_leaves_nothing_of_another_branch() -> None:
    """It was of no use before, and opens with the old key."""
    host = Host()
    state, *_ = host.started()
    state.save(PERMANENT, replace(state.header, branch=bytes(range(60, 76))))
    assert state.load_volatile() is None
    state.rekey(key(2), PERMANENT)
    assert host.started()[1:] == (PERMANENT, None)
    for disk, offset in itertools.product(host.disks, (0, PLACE_SIZE)):
        assert key(1).dek_id not in disk.read(offset, 8192)


def cuts() -> Iterator[tuple[int, int, Fault]]:
    for disk, write, kind, cached, stable in itertools.product(
        (0, 1, 2), range(4), (OSError, KilledError), STAGES, STAGES
    ):
        if set(stable) <= set(cached):
            yield disk, write, Fault(kind, cached, stable)


@pytest.mark.parametrize("volatile", [VOLATILE, None], ids=["volatile", "none"])
def test_rekey_cut_at_every_step_opens_with_the_old_key_or_with_the_new(
    volatile: bytes | None,
) -> None:
    found = set()
    for disk, write, fault in cuts():
        host = Host(volatile)
        state, *_ = host.started()
        host.disks[disk].faults = [*[None] * write, fault]
        try:
            state.rekey(key(2), PERMANENT)
        except (StorageError, KilledError):
            found.add("cut")
        # Killed, the next process may start from the cache; without power, from the disk.
        killed, powerless = host, host.copy()
        powerless.lose_power()
        for after in (powerless, killed):
            state, *states = after.started()
            assert states == [PERMANENT, volatile]
            assert waiting(state) is (volatile is not None)
            found.add(state.key.dek_id[:1].hex())
        killed.lose_power()
        assert killed.started()[1:] == (PERMANENT, volatile)
    assert found == {"cut", "01", "02"}


def test_received_state_cut_at_every_step_is_whole_or_not_there() -> None:
    later = replace(RECEIVED, permanent=b"later" * 99)
    found = set()
    for disk, write, fault in cuts():
        host = Host()
        state, *_ = host.started()
        host.disks[disk].faults = [*[None] * write, fault]
        with contextlib.suppress(StorageError, KilledError):
            state.receive(later)
        killed, powerless = host, host.copy()
        powerless.lose_power()
        for after in (powerless, killed):
            state, *states = after.started()
            assert states == [PERMANENT, VOLATILE]
            received = state.received()
            assert received is not None
            found.add(received.permanent)
    assert found == {RECEIVED.permanent, later.permanent}


def test_promotion_cut_at_every_step_is_done_or_still_to_be_done() -> None:
    found = set()
    for disk, write, fault in cuts():
        host = Host()
        state, *_ = host.started()
        host.disks[disk].faults = [*[None] * write, fault]
        with contextlib.suppress(StorageError, KilledError):
            header = RECEIVED.header.anew(bytes(range(50, 66)), state.header)
            state.save(RECEIVED.permanent, header)
            state.clear_volatile()
            state.forget_received()
        killed, powerless = host, host.copy()
        powerless.lose_power()
        for after in (powerless, killed):
            state, permanent, volatile = after.started()
            received = state.received()
            waits = received is not None and received.header.supersedes(state.header)
            found.add((permanent, volatile, waits))
    assert found == {(PERMANENT, VOLATILE, True), (RECEIVED.permanent, None, False)}


@pytest.mark.parametrize("stable", STAGES, ids=str)
@pytest.mark.parametrize("cached", STAGES, ids=str)
def test_failed_rekey_goes_on_with_the_old_key_and_loses_nothing(
    cached: range, stable: range
) -> None:
    if not set(stable) <= set(cached):
        return
    host = Host()
    state, *_ = host.started()
    # nvram's save fails: nobody knows which key its newest record is under.
    host.nvram.faults = [Fault(OSError, cached, stable)]
    with pytest.raises(StorageError):
        state.rekey(key(2), PERMANENT)
    assert state.key == key(1)
    with pytest.raises(StorageError, match="nvram has not been stored"):
        state.save_volatile(b"later")
    powerless = host.copy()
    powerless.lose_power()
    assert powerless.started()[1:] == (PERMANENT, VOLATILE)
    state.save(b"third")
    powerless = host.copy()
    powerless.lose_power()
    assert powerless.started()[1:] == (b"third", VOLATILE)
    # The old volatile state is there until the next is.
    host.volatile.faults = [None, Fault(OSError, range(1), range(1))]
    with pytest.raises(StorageError):
        state.save_volatile(b"later")
    powerless = host.copy()
    powerless.lose_power()
    assert powerless.started()[1:] == (b"third", VOLATILE)
    state.save_volatile(b"later")
    host.lose_power()
    state, *states = host.started()
    assert (state.key, states) == (key(1), [b"third", b"later"])


def test_volatile_state_of_another_branch_is_none() -> None:
    """A crash may leave it behind permanent state that has taken the place of its own."""
    host = Host()
    state, *_ = host.started()
    state.save(b"received", state.header.anew(bytes(range(16)), RECEIVED.header))
    state, permanent, volatile = host.started()
    assert (permanent, volatile, state.header.epoch) == (b"received", None, 3)


def test_received_state_takes_the_place_of_what_cannot_be_read(files: "Files") -> None:
    files.open(key(1)).create(PERMANENT)
    for place in (0, PLACE_SIZE):
        os.pwrite(files.fds[2], bytes(512), place)
    state = files.open(key(1))
    state.load()
    with pytest.raises(EnvelopeError, match="neither of its places"):
        state.received()
    state.receive(RECEIVED)
    assert waiting(files.open(key(1)))
    state.forget_received()
    assert files.open(key(1)).received() is None


def test_received_state_of_another_shape_is_damaged() -> None:
    header = RECEIVED.header
    later = b"\xa3" + RECEIVED.encode()[1:] + b"\x03\x00"
    for octets in (b"\xa0", b"\x00", b"\xa1\x01\x00", b"\xa1\x02\xf6", later):
        with pytest.raises(EnvelopeError, match="received state"):
            Received.decode(header, octets)
    assert Received.decode(header, b"\xa1\x01\x41x") == Received(header, b"x")


def test_unusable_key_changes_nothing() -> None:
    host = Host()
    state, *_ = host.started()
    with pytest.raises(ValueError):
        state.rekey(replace(key(2), slots=()), PERMANENT)
    state.save_volatile(b"later")
    assert host.started()[1:] == (PERMANENT, b"later")


def test_key_does_not_show() -> None:
    assert repr(bytes(key(7).dek))[2:-1] not in repr(key(7))


class Files:
    """Real state files, for what works by descriptors."""

    def __init__(self, path: Path) -> None:
        directory = open_directory(path)
        create_state_files(directory, VM)
        with opened_files(directory) as fds:
            self.fds = [os.dup(fd) for fd in fds]
        os.close(directory)

    def open(self, key: Key) -> SealedState:
        return SealedState.of(self.fds, VM, key)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    files = Files(tmp_path)
    yield files
    files.close()


def test_first_state_is_in_both_places_and_made_once(files: Files) -> None:
    files.open(key(1)).create(PERMANENT)
    for place in (0, PLACE_SIZE):
        before = os.pread(files.fds[0], 512, place)
        os.pwrite(files.fds[0], bytes(512), place)
        state = files.open(key(1))
        assert (state.load(), state.generation) == (PERMANENT, 1)
        os.pwrite(files.fds[0], before, place)
    with pytest.raises(StorageError) as caught:
        files.open(key(2)).create(b"other")
    assert caught.value.kind == "exists"
    assert files.open(key(1)).load() == PERMANENT


def test_header_of_another_line_of_life_is_passed(files: Files) -> None:
    state = files.open(key(1))
    state.create(b"first")
    theirs = Header(OTHER_VM, 41, "migration", key(2).dek_id, bytes(range(16)), 3, "lent")
    state.save(b"theirs", theirs)
    assert state.header == Header(VM, 42, "permanent", key(1).dek_id, bytes(range(16)), 3, "lent")
    state.save(b"older", replace(theirs, generation=5))
    assert state.generation == 43


def test_volatile_state_that_cannot_be_loaded_can_be_cleared(files: Files) -> None:
    files.open(key(1)).create(PERMANENT)
    os.pwrite(files.fds[1], bytes(512), 0)
    os.pwrite(files.fds[1], bytes(512), PLACE_SIZE)
    state = files.open(key(1))
    state.load()
    with pytest.raises(EnvelopeError, match="neither of its places"):
        state.load_volatile()
    state.clear_volatile()
    assert files.open(key(1)).load_volatile() is None


def rewrapped(files: Files) -> Iterator[bytes]:
    """What the places of the files say outside the seal."""
    for fd, offset in itertools.product(files.fds, (0, PLACE_SIZE)):
        yield os.pread(fd, 8192, offset)


def test_rewrap_leaves_the_old_slots_nowhere(files: Files) -> None:
    state = files.open(key(1))
    state.create(PERMANENT)
    state.save_volatile(b"older")
    state.save_volatile(VOLATILE)
    state.receive(RECEIVED)
    state.receive(RECEIVED)
    slots = (replace(SLOTS[0], key_version="later", wrapped=b"\x66" * 60),)
    rewrap(files.fds, VM, slots)
    assert not any(SLOTS[0].wrapped in octets for octets in rewrapped(files))
    assert all(slots[0].wrapped in octets for octets in rewrapped(files))
    state = files.open(key(1))
    assert (state.load(), state.load_volatile()) == (PERMANENT, VOLATILE)
    assert waiting(state)
    assert state.generation == 1


def test_rewrap_keeps_the_volatile_state_that_the_key_opens(files: Files) -> None:
    """After a rekey that was cut short, a newer one is there that it doesn't."""
    state = files.open(key(1))
    state.create(PERMANENT)
    state.save_volatile(VOLATILE)
    other = StateFile(FileDevice(files.fds[1]), VM, "volatile")
    other.load()
    header = Header(VM, 2, "volatile", key(2).dek_id)
    other.save(seal(key(2).dek, header, SLOTS, VOLATILE))
    rewrap(files.fds, VM, (replace(SLOTS[0], key_version="later"),))
    state = files.open(key(1))
    assert (state.load(), state.load_volatile()) == (PERMANENT, VOLATILE)


def test_rewrap_of_what_is_not_there_is_refused(files: Files) -> None:
    with pytest.raises(EnvelopeError, match="holds no state"):
        rewrap(files.fds, VM, SLOTS)
    files.open(key(1)).create(PERMANENT)
    with pytest.raises(EnvelopeError, match="belongs to instance"):
        rewrap(files.fds, OTHER_VM, SLOTS)
