"""Files are replaced whole, space is found before it is needed, and nothing foreign is touched."""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.store import MAX_SIZE, Store


def kind_of(error: pytest.ExceptionInfo[StorageError]) -> str:
    return error.value.kind


def test_written_file_is_read(store: Store, tmp_path: Path) -> None:
    store.write("nvram", b"one")
    store.write("nvram", bytearray(b"two, longer"))
    store.write("nvram", b"3")
    assert store.read("nvram") == b"3"
    assert (tmp_path / "nvram").read_bytes() == b"3"
    assert stat.S_IMODE((tmp_path / "nvram").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["nvram"]


def test_mode_does_not_depend_on_the_umask(store: Store, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.write("nvram", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "nvram").stat().st_mode) == 0o600


@given(writes=st.lists(st.tuples(st.integers(0, 200_000), st.integers(0, 300_000)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_sequence_of_sizes_and_reservations(
    dir_fd: int, tmp_path: Path, writes: list[tuple[int, int]]
) -> None:
    with Store(dir_fd) as store:
        for size, reserved in writes:
            data = os.urandom(size)
            assert store.reserve(reserved)
            store.write("nvram", data)
            assert store.read("nvram") == data
    assert all(not name.startswith(".") for name in os.listdir(tmp_path))


def test_missing_file_is_told(store: Store) -> None:
    with pytest.raises(StorageError, match="cannot read nvram: No such file") as caught:
        store.read("nvram")
    assert kind_of(caught) == "missing"


def test_created_file_is_never_replaced(store: Store, tmp_path: Path) -> None:
    store.create("keyring", b"first")
    with pytest.raises(StorageError) as caught:
        store.create("keyring", b"second")
    assert kind_of(caught) == "exists"
    assert store.read("keyring") == b"first"
    assert os.listdir(tmp_path) == ["keyring"]


def test_removed_file_is_gone(store: Store, tmp_path: Path) -> None:
    store.write("volatile", b"x")
    store.remove("volatile")
    store.remove("volatile")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "a\0b"])
def test_only_plain_names_are_taken(store: Store, name: str) -> None:
    for call in (store.read, store.remove):
        with pytest.raises(ValueError, match="plain"):
            call(name)
    with pytest.raises(ValueError, match="plain"):
        store.write(name, b"")


def test_symbolic_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of somebody else")
    (tmp_path / "nvram").symlink_to("secret")
    with pytest.raises(StorageError, match="cannot read nvram: it is a symbolic link") as caught:
        store.read("nvram")
    assert kind_of(caught) == "unsafe"
    store.write("nvram", b"ours")
    assert (tmp_path / "secret").read_bytes() == b"of somebody else"
    assert not (tmp_path / "nvram").is_symlink()


def test_what_is_no_regular_file_is_refused(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(0o700)
    for name in ("fifo", "directory"):
        with pytest.raises(StorageError, match="not a regular file") as caught:
            store.read(name)
        assert kind_of(caught) == "unsafe"


def test_file_that_others_may_write_is_refused(store: Store, tmp_path: Path) -> None:
    store.write("nvram", b"x")
    (tmp_path / "nvram").chmod(0o620)
    with pytest.raises(StorageError, match="mode 0620; take 0020 away") as caught:
        store.read("nvram")
    assert kind_of(caught) == "unsafe"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(store: Store, tmp_path: Path) -> None:
    store.write("nvram", b"x")
    os.chown(tmp_path / "nvram", 65534, 65534)
    with pytest.raises(StorageError, match="belongs to user 65534") as caught:
        store.read("nvram")
    assert kind_of(caught) == "unsafe"


def test_file_that_is_too_large_is_neither_read_nor_written(store: Store, tmp_path: Path) -> None:
    with (tmp_path / "nvram").open("wb") as file:
        file.truncate(MAX_SIZE + 1)
    with pytest.raises(StorageError, match="more than 4194304 bytes"):
        store.read("nvram")
    with pytest.raises(StorageError) as caught:
        store.write("nvram", bytes(MAX_SIZE + 1))
    assert kind_of(caught) == "full"


def test_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(StorageError, match="take 0020 away") as caught:
        open_directory(tmp_path)
    assert kind_of(caught) == "unsafe"
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(StorageError, match="no directory, or a symbolic link") as caught:
        open_directory(tmp_path / "link")
    assert kind_of(caught) == "unsafe"


def spares(path: Path) -> list[Path]:
    return list(path.glob(".vtpmd-*.tmp"))


def test_spare_is_allocated_with_headroom_and_replaced_after_each_write(
    store: Store, tmp_path: Path
) -> None:
    assert store.reserve(10_000)
    [first] = spares(tmp_path)
    assert first.stat().st_blocks * 512 >= 10_000 + (16 << 10)
    inode = first.stat().st_ino
    store.write("nvram", bytes(10_000))
    assert (tmp_path / "nvram").stat().st_ino == inode
    assert (tmp_path / "nvram").stat().st_size == 10_000
    [second] = spares(tmp_path)
    assert second.stat().st_size >= 10_000 + (16 << 10)


def test_spare_grows_in_place(store: Store, tmp_path: Path) -> None:
    assert store.reserve(1000)
    [spare] = spares(tmp_path)
    assert store.reserve(500_000)
    assert spares(tmp_path) == [spare]
    assert spare.stat().st_size >= 500_000


def test_without_a_reservation_nothing_is_left_lying(store: Store, tmp_path: Path) -> None:
    store.write("meta.json", b"{}")
    assert os.listdir(tmp_path) == ["meta.json"]


def test_closed_store_gives_its_space_back(dir_fd: int, tmp_path: Path) -> None:
    store = Store(dir_fd)
    assert store.reserve(1000)
    store.close()
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_crash_are_cleared_but_not_what_is_in_use(
    store: Store, dir_fd: int, tmp_path: Path
) -> None:
    assert store.reserve(1000)
    [in_use] = spares(tmp_path)
    (tmp_path / ".vtpmd-0123456789abcdef.tmp").write_bytes(b"half a fi")
    (tmp_path / ".other.tmp").write_bytes(b"not ours")
    Store(dir_fd).close()
    assert sorted(os.listdir(tmp_path)) == sorted([".other.tmp", in_use.name])
    store.write("nvram", b"still works")
    assert store.read("nvram") == b"still works"


def test_link_that_looks_like_a_leftover_is_left_alone(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / ".vtpmd-0123456789abcdef.tmp").symlink_to("target")
    Store(dir_fd).close()
    assert (tmp_path / "target").read_bytes() == b"x"


@pytest.fixture
def file_size_limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_size_limit_is_noticed_in_advance(
    store: Store, tmp_path: Path, file_size_limit: int
) -> None:
    assert store.reserve(20_000)
    store.write("nvram", b"old")
    assert not store.reserve(file_size_limit)
    assert store.shortage == f"cannot reserve {file_size_limit} bytes: File too large"
    with pytest.raises(StorageError) as caught:
        store.write("nvram", bytes(file_size_limit + 1))
    assert kind_of(caught) == "full"
    assert store.read("nvram") == b"old"
    assert store.reserve(20_000)
    assert store.shortage is None


@contextmanager
def mounted(path: Path, kind: str, options: str) -> Iterator[Path]:
    """A file system of this kind, empty."""
    path.mkdir()
    mount = ["mount", "-t", kind, "-o", options, "vtpmd-test", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(f"cannot mount a {kind} here")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with mounted(tmp_path / "disk", "tmpfs", "size=256k,mode=0700") as path:
        yield path


CONFINED = """
import sys
from vtpmd.storage.files import open_directory
from vtpmd.storage.store import Store
from vtpmd.worker import seccomp
store = Store(open_directory(sys.argv[1]))
seccomp.load()
assert store.reserve(40_000), store.shortage
store.write("nvram", bytes(40_000))
"""


def test_a_confined_worker_can_write_where_there_is_no_fallocate(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ramfs", "mode=0700") as path:
        subprocess.run([sys.executable, "-c", CONFINED, str(path)], check=True, timeout=60)
        assert (path / "nvram").read_bytes() == bytes(40_000)


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_full_disk_is_noticed_before_a_write_and_not_during_one(small_disk: Path) -> None:
    dir_fd = open_directory(small_disk)
    try:
        with Store(dir_fd) as store:
            store.write("nvram", b"old" * 10_000)
            assert store.reserve(40_000)
            filler = small_disk / "filler"
            fill(filler)

            # The reservation holds although the disk is full …
            assert store.reserve(40_000)
            store.write("nvram", b"new" * 13_000)
            assert store.read("nvram") == b"new" * 13_000
            # … and the one after it is refused in advance, with the reason.
            assert not store.reserve(100_000)
            assert store.shortage == "cannot reserve 100000 bytes: No space left on device"
            with pytest.raises(StorageError) as caught:
                store.write("nvram", bytes(100_000))
            assert kind_of(caught) == "full"
            assert store.read("nvram") == b"new" * 13_000

            filler.unlink()
            assert store.reserve(100_000)
            store.write("nvram", bytes(100_000))
            assert store.read("nvram") == bytes(100_000)
        assert os.listdir(small_disk) == ["nvram"]
    finally:
        os.close(dir_fd)


def test_refused_growth_keeps_the_smaller_reservation(small_disk: Path) -> None:
    dir_fd = open_directory(small_disk)
    try:
        with Store(dir_fd) as store:
            assert store.reserve(40_000)
            assert not store.reserve(300_000)
            (small_disk / "filler").write_bytes(bytes(256 * 1024 - 5 * 16_384))
            assert store.reserve(40_000)
            store.write("nvram", bytes(40_000))
            assert store.read("nvram") == bytes(40_000)
    finally:
        os.close(dir_fd)
