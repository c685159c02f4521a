"""Small files are replaced whole, and nothing foreign is touched."""

import os
import stat
from pathlib import Path

import pytest

from vtpmd.storage.atomic import create_file, published, remove_file, write_file
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory, read_file

LEFTOVER = ".vtpmd-0123456789abcdef.tmp"


def kind_of(error: pytest.ExceptionInfo[StorageError]) -> str:
    return error.value.kind


def test_written_file_is_read(dir_fd: int, tmp_path: Path) -> None:
    for content in (b"one", bytearray(b"two, longer"), b"3"):
        write_file(dir_fd, "meta.json", content)
        assert read_file("meta.json", 100, dir_fd=dir_fd) == content
    assert stat.S_IMODE((tmp_path / "meta.json").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["meta.json"]


def test_mode_does_not_depend_on_the_umask(dir_fd: int, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_file(dir_fd, "meta.json", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "meta.json").stat().st_mode) == 0o600


def test_missing_file_is_told(dir_fd: int) -> None:
    with pytest.raises(StorageError, match=r"cannot read meta\.json: No such file") as caught:
        read_file("meta.json", 100, dir_fd=dir_fd)
    assert kind_of(caught) == "missing"


def test_created_file_is_never_replaced(dir_fd: int, tmp_path: Path) -> None:
    create_file(dir_fd, "keyring", b"first")
    with pytest.raises(StorageError) as caught:
        create_file(dir_fd, "keyring", b"second")
    assert kind_of(caught) == "exists"
    assert (tmp_path / "keyring").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["keyring"]


def test_removed_file_is_gone_for_good(
    dir_fd: int, tmp_path: Path, acts: list[tuple[str, Path]]
) -> None:
    write_file(dir_fd, "x", b"x")
    acts.clear()
    remove_file(dir_fd, "x")
    assert acts == [("unlink", tmp_path), ("fsync", tmp_path)]
    remove_file(dir_fd, "x")
    assert os.listdir(tmp_path) == []


def test_symbolic_link_is_not_followed(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of somebody else")
    (tmp_path / "meta.json").symlink_to("secret")
    with pytest.raises(StorageError, match="it is a symbolic link") as caught:
        read_file("meta.json", 100, dir_fd=dir_fd)
    assert kind_of(caught) == "unsafe"
    write_file(dir_fd, "meta.json", b"ours")
    assert (tmp_path / "secret").read_bytes() == b"of somebody else"
    assert not (tmp_path / "meta.json").is_symlink()


def test_what_is_no_regular_file_is_refused(dir_fd: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "directory").mkdir(0o700)
    for name in ("fifo", "directory"):
        with pytest.raises(StorageError, match="not a regular file") as caught:
            read_file(name, 100, dir_fd=dir_fd)
        assert kind_of(caught) == "unsafe"


def test_file_that_others_may_write_is_refused(dir_fd: int, tmp_path: Path) -> None:
    write_file(dir_fd, "meta.json", b"x")
    (tmp_path / "meta.json").chmod(0o620)
    with pytest.raises(StorageError, match="mode 0620; take 0020 away") as caught:
        read_file("meta.json", 100, dir_fd=dir_fd)
    assert kind_of(caught) == "unsafe"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(dir_fd: int, tmp_path: Path) -> None:
    write_file(dir_fd, "meta.json", b"x")
    os.chown(tmp_path / "meta.json", 65534, 65534)
    with pytest.raises(StorageError, match="belongs to user 65534") as caught:
        read_file("meta.json", 100, dir_fd=dir_fd)
    assert kind_of(caught) == "unsafe"


def test_no_more_is_read_than_is_asked_for(dir_fd: int, tmp_path: Path) -> None:
    with (tmp_path / "meta.json").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(StorageError, match="more than 100 bytes"):
        read_file("meta.json", 100, dir_fd=dir_fd)


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


def test_leftovers_of_a_crash_are_cleared_but_not_what_is_in_use(
    dir_fd: int, tmp_path: Path
) -> None:
    (tmp_path / LEFTOVER).write_bytes(b"half a fi")
    (tmp_path / ".other.tmp").write_bytes(b"not ours")
    with published(dir_fd, "slow", replace=True) as fd:
        write_file(dir_fd, "meta.json", b"x")
        os.write(fd, b"still there")
    assert sorted(os.listdir(tmp_path)) == [".other.tmp", "meta.json", "slow"]
    assert (tmp_path / "slow").read_bytes() == b"still there"


def test_link_that_looks_like_a_leftover_is_left_alone(dir_fd: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / LEFTOVER).symlink_to("target")
    write_file(dir_fd, "meta.json", b"x")
    assert (tmp_path / "target").read_bytes() == b"x"


def test_what_has_no_space_changes_nothing(
    dir_fd: int, tmp_path: Path, file_size_limit: int
) -> None:
    write_file(dir_fd, "meta.json", b"old")
    with pytest.raises(StorageError) as caught:
        write_file(dir_fd, "meta.json", bytes(file_size_limit + 1))
    assert kind_of(caught) == "full"
    assert (tmp_path / "meta.json").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["meta.json"]
