"""Who may connect to a worker: judged by whom the kernel says it is, not by the socket's mode."""

import socket
from collections.abc import Callable

import pytest

from tests.users import act_as, as_root
from tests.worker.harness import READ_CLOCK, Host, WorkerProcess, connect, control
from vtpmd.ipc.messages import Admit, Admitted

STRANGER, ACQUAINTANCE = 65534, 65533
SEQPACKET = socket.SOCK_SEQPACKET

pytestmark = as_root


def _as_user(host: Host, user: int, act: Callable[[], object]) -> None:
    """Run `act` in a process of this user, in the directory of the sockets."""
    host.root.chmod(0o711)
    for path in host.root.iterdir():
        if path.is_socket():
            path.chmod(0o666)
    assert act_as(user, act, directory=host.root)


def _refused(name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.settimeout(10)
        sock.connect(name)
        return sock.recv(1) == b""


def _served(name: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(name)
        sock.sendall(b"\0\0\0\1" if name.endswith(".ctrl") else bytes.fromhex(READ_CLOCK))
        return bool(sock.recv(64))


def _refusal(worker: WorkerProcess) -> str:
    return worker.event("client-refused").detail


@pytest.mark.parametrize("name", ["web1.sock.ctrl", "web1.sock"])
def test_a_stranger_is_refused_and_reported(host: Host, name: str) -> None:
    worker = host.serve(check_peers=True, peer_uids=(ACQUAINTANCE,))
    _as_user(host, STRANGER, lambda: _refused(name))
    assert f"of user {STRANGER}" in _refusal(worker)
    _as_user(host, ACQUAINTANCE, lambda: _served(name))
    with connect(host.control_path) as sock:
        assert control(sock, 0x01, length=8)[:4] == bytes(4)


@pytest.mark.parametrize("name", ["web1.sock.ctrl", "web1.sock"])
def test_a_member_of_the_group_is_served(host: Host, name: str) -> None:
    worker = host.serve(check_peers=True, peer_gids=(ACQUAINTANCE,))
    _as_user(host, ACQUAINTANCE, lambda: _served(name))
    _as_user(host, STRANGER, lambda: _refused(name))
    assert f"of user {STRANGER}" in _refusal(worker)


def test_without_a_check_the_sockets_mode_decides(host: Host) -> None:
    host.serve(check_peers=False)
    _as_user(host, STRANGER, lambda: _served("web1.sock.ctrl"))


@pytest.mark.parametrize("check", [True, False])
def test_no_client_may_become_the_supervisor(host: Host, check: bool) -> None:
    """Whatever the policy for clients says: QEMU's user has no business there."""
    worker = host.serve(check_peers=check, peer_uids=(ACQUAINTANCE,), peer_gids=(ACQUAINTANCE,))
    _as_user(host, ACQUAINTANCE, lambda: _refused("adoption", SEQPACKET))
    assert f"of user {ACQUAINTANCE}" in _refusal(worker)
    assert worker.status().uuid == host.uuid  # our channel is the one in force


def test_who_may_connect_can_change_and_who_is_connected_stays(host: Host) -> None:
    worker = host.serve(check_peers=True, peer_uids=(ACQUAINTANCE,))
    with connect(host.control_path) as sock:
        worker.ask(Admit(True, (STRANGER,), ()), Admitted)
        _as_user(host, STRANGER, lambda: _served("web1.sock.ctrl"))
        for name in ("web1.sock.ctrl", "web1.sock"):
            _as_user(host, ACQUAINTANCE, lambda name=name: _refused(name))  # type: ignore[misc]
            assert f"of user {ACQUAINTANCE}" in _refusal(worker)
        worker.ask(Admit(True, (), (ACQUAINTANCE,)), Admitted)
        _as_user(host, STRANGER, lambda: _refused("web1.sock.ctrl"))
        assert control(sock, 0x01, length=8)[:4] == bytes(4)
    worker.ask(Admit(False, (), ()), Admitted)
    _as_user(host, STRANGER, lambda: _served("web1.sock.ctrl"))
