"""Clients of the admin socket and of the private sockets that are none of ours."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.bystander import Bystander
from tests.faults.machine import Machine
from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from vtpmd.ipc.version import PROTOCOL, Version, greeting
from vtpmd.worker.zygote import EXIT_ILLEGAL_MESSAGE

DEADLINE = 30.0
GET = b"GET /v1/instances HTTP/1.1\r\nHost: vtpmd\r\n\r\n"
EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def unharmed(host: Vtpmd) -> Iterator[None]:
    """The same daemon still answers, and keeps nothing of its bad clients."""
    daemon, (_, instances) = host.process(), host.request("GET", "/instances")
    before = descriptors(daemon)
    yield
    assert host.process() == daemon
    wait_until(lambda: host.request("GET", "/instances")[0] == 200, "an answer")
    if host.request("GET", "/instances")[1] == instances:
        wait_until(lambda: descriptors(daemon) <= before, "every descriptor closed")
    for word in ("Traceback", "connection-failed", "request-failed", "defect"):
        assert word not in host.log()


def descriptors(pid: int) -> int:
    """How many the daemon has open; it shows them to nobody but root."""
    return len(os.listdir(f"/proc/{pid}/fd")) if os.geteuid() == 0 else 0


@contextlib.contextmanager
def connection(host: Vtpmd) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(host.admin))
        sock.settimeout(DEADLINE)
        yield sock


def answer(sock: socket.socket) -> bytes:
    """Everything until the daemon closes in good order, with all that was sent read."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


def answer_to_too_much(sock: socket.socket, request: bytes) -> bytes:
    """The answer to what the daemon does not take to the end; it closes with octets unread."""
    with pytest.raises(ConnectionError):  # either of the two comes first
        sock.sendall(request)
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            said += part
    return said


def statuses(said: bytes) -> set[int]:
    """Those of all responses in an answer, which is nothing but responses."""
    found = set()
    while said:
        head, separator, rest = said.partition(b"\r\n\r\n")
        assert separator
        lines = head.split(b"\r\n")
        version, status, _ = lines[0].split(b" ", 2)
        assert version == b"HTTP/1.1"
        found.add(int(status))
        (length,) = [int(line[16:]) for line in lines if line.startswith(b"Content-Length: ")]
        assert len(rest) >= length
        said = rest[length:]
    return found


octets = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=40).map(lambda some: GET[:-2] + some + b"\r\n\r\n"),
    st.tuples(st.integers(0, len(GET)), st.binary(max_size=8)).map(
        lambda cut: GET[: cut[0]] + cut[1] + GET[cut[0] :]
    ),
)


@EXAMPLES
@given(request=octets)
def test_garbage(host: Vtpmd, request: bytes) -> None:
    with connection(host) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        found = statuses(answer(sock))
    assert found <= {200, 400, 404, 405}
    assert bool(found) is bool(request)


@EXAMPLES
@given(
    body=st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["name", "uuid", "start", "x"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_garbage_as_a_request(host: Vtpmd, body: bytes) -> None:
    """Nothing but a valid request makes an instance."""
    with contextlib.suppress(ValueError, AttributeError):
        request = json.loads(body)
        if isinstance(request.get("name"), str):
            body = json.dumps({**request, "name": "-" + request["name"]}).encode()
    before = host.request("GET", "/instances")
    head = b"POST /v1/instances HTTP/1.1\r\nHost: vtpmd\r\nConnection: close\r\n"
    with connection(host) as sock:
        sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        said = answer(sock)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert host.request("GET", "/instances") == before


@pytest.mark.parametrize(
    "request_head",
    [
        GET[:-2] + b"X-Large: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"GET /" + b"y" * (1 << 20) + b" HTTP/1.1\r\nHost: vtpmd\r\n\r\n",
        GET[:-2] + b"X: y\r\n" * 100_000 + b"\r\n",
    ],
    ids=["header", "target", "many headers"],
)
def test_huge_headers(host: Vtpmd, request_head: bytes) -> None:
    with connection(host) as sock:
        assert statuses(answer_to_too_much(sock, request_head)) == {400}


def test_huge_body(host: Vtpmd) -> None:
    head = b"POST /v1/instances HTTP/1.1\r\nHost: vtpmd\r\nContent-Length: 4294967296\r\n\r\n"
    with connection(host) as sock:
        assert statuses(answer_to_too_much(sock, head + bytes(1 << 20))) == {413}


@pytest.mark.slow
def test_slow_clients(host: Vtpmd) -> None:
    """Those who never finish are turned out after ten seconds, and keep nobody waiting so long."""
    with contextlib.ExitStack() as stack, Bystander(host.create("bystander")):
        slow = [stack.enter_context(connection(host)) for _ in range(16)]
        for index, sock in enumerate(slow):
            sock.sendall(GET[: 2 * index])
        assert host.request("GET", "/instances")[0] == 200
        for index, sock in enumerate(slow):
            assert statuses(answer(sock)) == ({408} if index else set())


def test_disconnected_amid_a_create(host: Vtpmd) -> None:
    """The instance is made all the same, whole: vtpmctl may have died, the request was read."""
    body = json.dumps({"name": "orphan"}).encode()
    head = b"POST /v1/instances HTTP/1.1\r\nHost: vtpmd\r\nContent-Length: %d\r\n\r\n" % len(body)
    with connection(host) as sock:
        sock.sendall(head + body)
    wait_until(lambda: host.request("GET", "/instances/orphan")[0] == 200, "the instance")
    orphan = host.instance("orphan")
    orphan.wait_for(lambda info: info["state"] == "running", "running")
    with Machine(orphan) as machine:
        machine.define_indices()
    with connection(host) as sock:  # half a request makes nothing
        sock.sendall(head.replace(b"orphan", b"nobody") + body[:-1])
    assert host.request("GET", "/instances/nobody")[0] == 404


def intrude(instance: VtpmdInstance, packets: list[bytes]) -> None:
    """Connect to the socket that is meant for the next supervisor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(str(instance.adoption))
        with contextlib.suppress(ConnectionError):
            for packet in packets:
                sock.sendall(packet)


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [b"garbage"],
        [b"\xa1\x64type"],
        [bytes(60_000)] * 3,
        [greeting(PROTOCOL)],
        [greeting(PROTOCOL), b"garbage"],
        [greeting(Version(9, 0)), b"nonsense"],
    ],
)
def test_adoption_socket(host: Vtpmd, packets: list[bytes]) -> None:
    """Who connects there and does not talk like a supervisor does not take its place."""
    name = f"private{len(packets)}{sum(map(len, packets))}"
    instance = host.create(name)
    with Machine(instance) as machine:
        machine.define_indices()
        worker = instance.process()
        for _ in range(20):
            intrude(instance, packets)
        assert machine.count() == 1
        assert instance.process() == worker
    instance.restart()
    with Machine(instance) as machine:
        assert machine.count() == 1


@pytest.mark.parametrize("packet", [b"", b"garbage", b"\xa1dtypefSpawn", bytes(60_000)])
def test_zygote_channel(packet: bytes) -> None:
    """A zygote that hears nonsense ends; nothing is forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            zygote = subprocess.Popen(
                [sys.executable, "-m", "vtpmd.worker.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
            )
        if packet:
            ours.sendall(packet)
        else:
            ours.close()
        _, said = zygote.communicate(timeout=DEADLINE)
    assert zygote.returncode == (EXIT_ILLEGAL_MESSAGE if packet else 0)
    assert b"Traceback" not in said
