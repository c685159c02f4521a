"""Files in memory."""

import mmap
import os

import pytest

from vtpmd.linux.memory import memory_file


def test_one_of_a_size_keeps_it_whoever_has_it() -> None:
    with memory_file("any", 32) as fd:
        assert os.pread(fd, 100, 0) == bytes(32)
        for size in (0, 31, 33):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)
        with mmap.mmap(fd, 32) as mapped:
            os.pwrite(fd, b"written", 0)
            assert mapped[:7] == b"written"


def test_one_without_may_grow_and_shrink() -> None:
    with memory_file("any") as fd:
        os.write(fd, b"much")
        os.ftruncate(fd, 0)
        assert os.fstat(fd).st_size == 0
        assert not os.get_inheritable(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
