"""Who hears how the start went."""

import os
import socket

from vtpmd.standalone.detach import Detached


def test_what_fails_after_the_start_is_told_to_nobody() -> None:
    """Least of all to whoever has the descriptor by then."""
    reader, writer = os.pipe()
    outcome = Detached(writer)
    outcome.ready()
    ours, theirs = socket.socketpair()
    assert ours.fileno() == writer
    outcome.failed("the disk is gone")
    ours.close()
    with theirs:
        assert theirs.recv(100) == b""
    assert os.read(reader, 100) == b"\0"
    os.close(reader)


def test_a_parent_that_is_gone_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    Detached(writer).ready()
