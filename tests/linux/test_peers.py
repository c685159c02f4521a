"""Who is at the other end, as the kernel has it."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from vtpmd.linux.peers import Peer, PeerPolicy, is_owner, peer_of

CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); input()"


def test_credentials_are_those_of_the_peer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        gids = frozenset({os.getgid(), *os.getgroups()})
        assert peer_of(ours) == Peer(os.getpid(), os.getuid(), gids)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_supplementary_groups_count(short_path: Path) -> None:
    short_path.chmod(0o711)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "s"))
        (short_path / "s").chmod(0o777)
        listener.listen()
        with subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", CONNECT, str(short_path / "s")],
            stdin=subprocess.PIPE,
            user=54321,
            group=54322,
            extra_groups=[54323, 54324],
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
        ) as process:
            connection, _ = listener.accept()
            with connection:
                peer = peer_of(connection)
            assert process.stdin is not None
            process.stdin.write(b"\n")
    assert peer == Peer(process.pid, 54321, frozenset({54322, 54323, 54324}))
    assert PeerPolicy(gids=frozenset({54324})).permits(peer)
    assert PeerPolicy(uids=frozenset({54321})).permits(peer)
    assert not PeerPolicy(uids=frozenset({54320}), gids=frozenset({54321})).permits(peer)


def test_a_peer_without_a_process_is_named_so() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert str(peer_of(connection)) == "an unknown process"
    assert str(Peer(7, 8, frozenset())) == "process 7 of user 8"


def test_root_and_the_daemons_own_user_always_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 990)
    permitted = [uid for uid in (0, 1, 990, 991) if is_owner(uid)]
    assert permitted == [0, 990]
    for uid in (0, 1, 990, 991):
        assert PeerPolicy().permits(Peer(1, uid, frozenset({0, 990}))) is (uid in permitted)
