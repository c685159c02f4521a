"""Listening sockets: atomic, replaced only when stale."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtpmd.linux import acl, sockets
from vtpmd.linux.errors import InUseError

NOBODY = 65534


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_a_listener_has_mode_and_owner_and_leaves_no_temporary(
    tmp_path: Path, kind: socket.SocketKind
) -> None:
    path = tmp_path / "s"
    with sockets.listen(path, mode=0o640, group=os.getgid(), kind=kind) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert os.listdir(tmp_path) == ["s"]
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(str(path))
            listener.accept()[0].close()


def test_a_listener_is_not_published_before_it_has_its_mode_and_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[int, int]] = []
    rename = Path.rename

    def look_and_rename(source: Path, target: Path) -> Path:
        status = source.stat()
        found.append((stat.S_IMODE(status.st_mode), status.st_gid))
        assert sockets.is_listening(source)
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", look_and_rename)
    group = NOBODY if os.geteuid() == 0 else os.getgid()
    sockets.listen(tmp_path / "s", mode=0o640, group=group).close()
    assert found == [(0o640, group)]


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sockets.listen(path, mode=0o600).close()
    assert not sockets.is_listening(path)
    with sockets.listen(path, mode=0o600):
        assert sockets.is_listening(path)


def test_a_living_listener_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with sockets.listen(path, mode=0o600):
        with pytest.raises(InUseError, match="another process listens"):
            sockets.listen(path, mode=0o600)
        assert sockets.is_listening(path)


def test_a_full_backlog_counts_as_living(tmp_path: Path) -> None:
    path = tmp_path / "s"
    clients = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(2):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(path))
            clients.append(client)
        assert sockets.is_listening(path)
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_what_is_no_socket_is_kept(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    if kind == "file":
        path.write_text("x")
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.mkdir()
    with pytest.raises(FileExistsError, match="is not a socket"):
        sockets.listen(path, mode=0o600)
    assert path.lstat()


@pytest.fixture
def own_directory(short_path: Path) -> Iterator[Path]:
    """A directory of this process's user, who is not root while the test runs."""
    if os.geteuid() != 0:
        yield short_path
        return
    os.chown(short_path, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    yield short_path
    os.seteuid(0)


def test_an_owner_that_cannot_be_set_leaves_nothing(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no file system without lists can be had here")

    monkeypatch.setattr(acl, "share", fail)
    with pytest.raises(OSError, match="no file system without lists"):
        sockets.listen(own_directory / "s", mode=0o600, owner=0)
    assert os.listdir(own_directory) == []
