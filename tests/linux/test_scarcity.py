"""What passes by itself."""

import errno
import os
import resource
import socket

import pytest

from vtpmd.linux.scarcity import is_scarcity


def test_a_host_without_descriptors_recovers() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            socket.socket()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert is_scarcity(caught.value)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.EADDRINUSE, errno.EPERM])
def test_what_a_person_has_to_repair_is_none(number: int) -> None:
    assert not is_scarcity(OSError(number, os.strerror(number)))
