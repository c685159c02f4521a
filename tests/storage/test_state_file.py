"""State files on a disk that tears, loses and misdirects writes: the last state or the next."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.storage.simulated import OTHER_VM, SECTOR, VM, Disk, Fault, KilledError, fresh
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.record import HEAD_SIZE, MAX_SEQUENCE, MAX_SIZE, Home, Record, parse
from vtpmd.storage.state_file import FILE_SIZE, PLACE_SIZE, Loaded, StateFile

OLD, NOW, NEXT = b"old" * 500, b"now" * 600, b"next" * 700


def opened(disk: Disk) -> StateFile:
    file = StateFile(disk, VM, "nvram")
    file.load()
    return file


def loaded(disk: Disk) -> Loaded:
    return StateFile(disk, VM, "nvram").load()


def refusal(disk: Disk) -> str:
    with pytest.raises(EnvelopeError) as caught:
        loaded(disk)
    return caught.value.kind


def worn() -> Disk:
    """A state file after some saves: NOW is current, in place 0, and OLD is in place 1."""
    disk = fresh(b"first")
    file = opened(disk)
    file.save(OLD)
    file.save(NOW)
    assert disk.writes[-1][0] == 0
    return disk


def the_write(disk: Disk, content: bytes) -> tuple[int, bytes]:
    """Where the next save of `content` would write what."""
    trial = disk.copy()
    opened(trial).save(content)
    return trial.writes[-1]


def test_what_is_saved_is_loaded_by_the_next_process() -> None:
    disk = fresh(b"first")
    assert loaded(disk) == Loaded(b"first", "whole")
    for content in (OLD, NOW, NEXT, b"x", bytes(MAX_SIZE)):
        file = opened(disk)
        file.save(content)
        file.save(content + b"!" if len(content) < MAX_SIZE else content)
        assert loaded(disk).condition == "whole"
    assert loaded(disk).content == bytes(MAX_SIZE)


def test_empty_file_is_whole_and_empty() -> None:
    assert loaded(fresh()) == Loaded(None, "whole")


def test_a_save_is_one_write_into_the_place_that_is_not_current() -> None:
    disk = worn()
    file = opened(disk)
    file.settle()
    disk.writes.clear()
    for content, place in ((b"a" * 2000, 1), (b"b" * 2000, 0), (b"c" * 2000, 1)):
        file.save(content)
        [(offset, data)] = disk.writes
        assert (offset, len(data)) == (place * PLACE_SIZE, HEAD_SIZE + 2000)
        disk.writes.clear()


@pytest.mark.parametrize("content", [NEXT, b"short", b"n" * 20_000])
def test_write_cut_at_any_octet_leaves_the_record_before(content: bytes) -> None:
    disk = worn()
    offset, data = the_write(disk, content)
    assert offset == PLACE_SIZE
    lengths = range(len(data)) if len(data) < 5000 else [
        *range(2 * HEAD_SIZE), *range(HEAD_SIZE, len(data), 97), *range(0, len(data), SECTOR),
        *range(len(data) - 20, len(data)),
    ]  # fmt: skip
    before = disk.read(offset, len(data))
    for length in lengths:
        torn = disk.copy()
        torn.length = max(torn.length, offset + len(data))
        left = data[:length] + before[length:]
        torn.put(offset, left)
        assert loaded(torn) == Loaded(NOW, "whole" if left == before else "interrupted")
        opened(torn).save(b"again")
        assert loaded(torn) == Loaded(b"again", "whole")


def test_write_of_which_any_sectors_landed_leaves_the_record_before() -> None:
    disk = worn()
    offset, data = the_write(disk, NEXT)
    sectors = disk.sectors(offset, data)
    assert len(sectors) == 6
    for count in range(len(sectors) + 1):
        for landed in itertools.combinations(sectors, count):
            torn = disk.copy()
            torn.stable.update({index: sectors[index] for index in landed})
            torn.lose_power()
            found = loaded(torn)
            assert found.content == (NEXT if count == len(sectors) else NOW)
            assert found.condition != "damaged"


def test_first_save_of_all_cut_anywhere() -> None:
    disk = fresh(b"first")
    offset, data = the_write(disk, NEXT)
    for length in range(len(data)):
        torn = disk.copy()
        torn.put(offset, data[:length])
        assert loaded(torn).content == b"first"


def faults() -> Iterator[Fault]:
    """A write that fails or is killed before, in the middle of and after reaching cache or disk."""
    some: list[range] = [range(0), range(2), range(1, 99), range(99)]
    for kind, cached, stable in itertools.product((OSError, KilledError), some, some):
        if set(stable) <= set(cached):
            yield Fault(kind, cached, stable)


@pytest.mark.parametrize("fault", list(faults()), ids=str)
def test_failed_save_leaves_the_record_before_until_the_next(fault: Fault) -> None:
    disk = worn()
    file = opened(disk)
    file.settle()
    disk.faults = [fault]
    with pytest.raises((StorageError, KilledError)):
        file.save(NEXT)
    assert loaded(disk).content in (NOW, NEXT)
    again = file if fault.kind is OSError else opened(disk)
    found = loaded(disk).content
    # The next write is cut, too: what this process knew is still there.
    disk.faults = [Fault(KilledError, range(2), range(2))]
    with pytest.raises(KilledError):
        again.save(b"third" * 400)
    disk.lose_power()
    assert loaded(disk).content in (NOW, found)


def test_what_was_loaded_from_the_cache_alone_is_written_before_the_other_place_is_given_up() -> (
    None
):
    disk = worn()
    disk.faults = [None, Fault(KilledError, range(99), ())]
    with pytest.raises(KilledError):
        opened(disk).save(NEXT)
    file = opened(disk)
    assert loaded(disk).content == NEXT
    file.settle()
    lost = disk.copy()
    lost.lose_power()
    assert loaded(lost).content == NEXT
    file.save(b"third")
    assert [offset for offset, _ in disk.writes[-2:]] == [PLACE_SIZE, 0]


def test_settling_cut_anywhere_loses_nothing() -> None:
    disk = worn()
    current = loaded(disk).content
    for landed in (range(0), range(1), range(1, 3), range(99)):
        disk.faults = [Fault(KilledError, landed, landed)]
        with pytest.raises(KilledError):
            opened(disk).settle()
        disk.lose_power()
        assert loaded(disk) == Loaded(current, "whole")


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("landed", [range(0), range(1), range(99)], ids=str)
def test_clearing_cut_anywhere_leaves_the_old_record_or_none(step: int, landed: range) -> None:
    disk = worn()
    file = opened(disk)
    file.settle()
    disk.faults = [*[None] * step, Fault(KilledError, landed, landed)]
    with pytest.raises(KilledError):
        file.clear()
    disk.lose_power()
    found = loaded(disk)
    assert found.content in ((NOW, None) if step == 0 else (None,))
    assert found.condition != "damaged"


def test_what_was_cleared_stays_so_when_either_place_decays() -> None:
    for place in (0, 1):
        disk = worn()
        opened(disk).clear()
        assert loaded(disk) == Loaded(None, "whole")
        disk.put(place * PLACE_SIZE, bytes(SECTOR))
        assert loaded(disk) == Loaded(None, "interrupted")
        opened(disk).save(NEXT)
        assert loaded(disk) == Loaded(NEXT, "whole")


def test_what_is_empty_already_is_not_written_again() -> None:
    disk = worn()
    file = opened(disk)
    file.clear()
    disk.writes.clear()
    file.clear()
    assert disk.writes == []
    file = opened(disk)
    file.clear()  # whether the newer place was synced is not known
    assert len(disk.writes) == 1
    file.save(NEXT)
    file.clear()
    assert loaded(disk) == Loaded(None, "whole")


def test_newest_record_that_is_refused_is_passed_over_and_overwritten() -> None:
    disk = worn()
    opened(disk).save(b"new key")
    file = StateFile(disk, VM, "nvram")
    assert file.load(lambda content: content == NOW) == Loaded(NOW, "whole")
    file.save(b"old key")
    assert loaded(disk) == Loaded(b"old key", "whole")
    assert StateFile(disk, VM, "nvram").load(lambda content: content == NOW).content == NOW
    assert StateFile(disk, VM, "nvram").load(lambda _: False).content == b"old key"


# ── Damage that no interrupted write explains ────────────────────────────────────────────────


def test_both_places_unreadable() -> None:
    disk = worn()
    disk.put(0, bytes(SECTOR))
    disk.put(PLACE_SIZE, bytes(SECTOR))
    assert refusal(disk) == "damaged"


@pytest.mark.parametrize("length", [0, 1, HEAD_SIZE, PLACE_SIZE, PLACE_SIZE + HEAD_SIZE - 1])
def test_shortened_file(length: int) -> None:
    disk = worn()
    disk.length = length
    if length > HEAD_SIZE:
        assert loaded(disk).content == NOW
        assert loaded(disk).condition == "damaged"
    else:
        assert refusal(disk) == "truncated"


def test_file_that_is_too_large() -> None:
    disk = worn()
    disk.length = FILE_SIZE + 1
    with pytest.raises(StorageError) as caught:
        loaded(disk)
    assert caught.value.kind == "unsafe"


def test_write_that_landed_in_the_place_of_the_current_record() -> None:
    disk = worn()
    _, data = the_write(disk, NEXT)
    disk.put(0, data)
    found = loaded(disk)
    assert (found.content, found.condition) == (OLD, "damaged")
    assert "place 1 of nvram" in found.reason
    opened(disk).save(b"again")
    assert loaded(disk) == Loaded(b"again", "whole")


def test_write_that_landed_in_both_places() -> None:
    disk = worn()
    disk.put(PLACE_SIZE, disk.read(0, HEAD_SIZE + len(NOW)))
    assert (loaded(disk).content, loaded(disk).condition) == (NOW, "damaged")


@pytest.mark.parametrize(
    "home", [Home(OTHER_VM, "nvram", 1), Home(VM, "volatile", 1), Home(OTHER_VM, "volatile", 0)]
)
def test_write_of_another_file_that_landed_here(home: Home) -> None:
    disk = worn()
    stray = Record(home, 99, b"stray" * 100).encode()
    disk.put(PLACE_SIZE, stray)
    found = loaded(disk)
    assert (found.content, found.condition) == (NOW, "damaged")
    assert str(home.uuid) in found.reason
    disk.put(0, stray)
    expected = "wrong-instance" if home.uuid == OTHER_VM else "damaged"
    assert refusal(disk) == expected


def test_file_of_another_instance() -> None:
    assert refusal(fresh(b"x", uuid=OTHER_VM)) == "wrong-instance"
    assert refusal(fresh(b"x", role="volatile")) == "damaged"


def test_lost_write_between_two_others_is_told() -> None:
    """The drive said that it had written number 4, and had not."""
    disk = worn()
    file = opened(disk)
    file.settle()
    stale = disk.copy()
    file.save(b"four")
    file.save(b"five")
    file.save(b"six")
    for index in range(PLACE_SIZE // SECTOR, PLACE_SIZE // SECTOR + 99):
        disk.put(index * SECTOR, stale.cached.get(index, bytes(SECTOR)))
    found = loaded(disk)
    assert (found.content, found.condition) == (b"five", "damaged")
    assert "missing" in found.reason


def test_two_states_with_one_number() -> None:
    disk = fresh(b"one")
    disk.put(PLACE_SIZE, Record(Home(VM, "nvram", 1), 1, b"other").encode())
    assert refusal(disk) == "damaged"
    disk.put(PLACE_SIZE, Record(Home(VM, "nvram", 1), 1, b"one").encode())
    assert (loaded(disk).content, loaded(disk).condition) == (b"one", "damaged")


def test_newer_version_is_named_before_anything_else_and_left_alone() -> None:
    disk = worn()
    disk.put(0, b"vtpmd\r\n\x1a\0\0\0\2" + b"\xff" * 500)
    assert refusal(disk) == "newer"
    disk = worn()
    disk.put(PLACE_SIZE, b"vtpmd\r\n\x1a\0\0\0\2" + bytes(500))
    assert refusal(disk) == "newer"


@given(st.binary(max_size=200), st.sampled_from([0, PLACE_SIZE]))
def test_arbitrary_octets_in_one_place(data: bytes, offset: int) -> None:
    disk = worn()
    disk.put(offset, data)
    assert loaded(disk).content in (NOW, OLD)


@given(st.integers(0, HEAD_SIZE + 40), st.integers(0, 7))
def test_any_flipped_bit_of_a_record_is_noticed(position: int, bit: int) -> None:
    data = bytearray(Record(Home(VM, "nvram", 0), 5, b"content" * 6).encode())
    data[position] ^= 1 << bit
    if 8 <= position < 12 and int.from_bytes(data[8:12]) > 1:
        with pytest.raises(EnvelopeError, match="newer vtpmd"):
            parse(bytes(data))
    else:
        assert parse(bytes(data)) is None


def test_numbers_that_are_used_up_are_told() -> None:
    disk = fresh(b"x")
    disk.put(0, Record(Home(VM, "nvram", 0), MAX_SEQUENCE, b"x").encode())
    with pytest.raises(StorageError, match="used up"):
        opened(disk).save(b"one more")
    assert loaded(disk).content == b"x"


def test_length_in_a_head_is_bounded() -> None:
    disk = worn()
    head = bytearray(disk.read(0, HEAD_SIZE))
    head[40:48] = b"\xff" * 8
    disk.put(0, bytes(head))
    asked: list[int] = []

    class Watched(Disk):
        def read(self, offset: int, size: int) -> bytes:
            asked.append(size)
            return super().read(offset, size)

    watched = Watched(disk.stable, disk.cached, disk.length)
    assert StateFile(watched, VM, "nvram").load().content == OLD
    assert max(asked) <= MAX_SIZE


def test_reader_that_meets_a_writer_in_both_places_looks_again() -> None:
    disk = worn()

    class Busy(Disk):
        """While it is read for the first time, the writer is in the place that is looked at."""

        reads = 0

        def read(self, offset: int, size: int) -> bytes:
            self.reads += 1
            return b"" if self.reads <= 4 else super().read(offset, size)

    busy = Busy(disk.stable, disk.cached, disk.length)
    assert StateFile(busy, VM, "nvram").load() == Loaded(NOW, "whole")


# ── Space ────────────────────────────────────────────────────────────────────────────────────


def test_space_is_reserved_in_both_places_with_headroom_and_asked_for_once() -> None:
    disk = fresh(b"x")
    allocated: list[tuple[int, int]] = []

    class Watched(Disk):
        def allocate(self, offset: int, size: int) -> None:
            super().allocate(offset, size)
            allocated.append((offset, size))

    watched = Watched(disk.stable, disk.cached, disk.length)
    file = opened(watched)
    assert file.reserve(20_000)
    assert [offset for offset, _ in allocated] == [0, PLACE_SIZE]
    assert all(size >= 20_000 + HEAD_SIZE + (16 << 10) for _, size in allocated)
    assert file.reserve(30_000)
    assert len(allocated) == 2
    assert file.reserve(MAX_SIZE)
    assert allocated[-1] == (PLACE_SIZE, PLACE_SIZE)
    file.save(bytes(MAX_SIZE))


def test_shortage_is_told_and_goes_away() -> None:
    disk = worn()
    file = opened(disk)
    assert file.reserve(1000)
    disk.free = 0
    assert file.reserve(1000)
    assert not file.reserve(1 << 20)
    assert file.shortage == "cannot reserve 1048576 octets: No space left on device"
    assert file.reserve(1000)
    assert file.shortage is None
    disk.free = 1 << 30
    assert file.reserve(1 << 20)
    assert not file.reserve(MAX_SIZE + 1)
    assert file.shortage is not None


def test_more_than_a_record_holds_is_not_saved() -> None:
    file = opened(worn())
    with pytest.raises(ValueError):
        file.save(bytes(MAX_SIZE + 1))
    with pytest.raises(ValueError):
        file.save(b"")


def test_secrets_do_not_show() -> None:
    disk = worn()
    assert "now" not in repr(loaded(disk)) + repr(parse(disk.read(0, HEAD_SIZE + len(NOW))))
