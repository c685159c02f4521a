"""The supervisor's channel: lost, found again, and never able to stop the TPM by being slow."""

import os
import selectors
import signal
import socket
import struct
from contextlib import closing
from pathlib import Path

import pytest

from tests.worker.harness import (
    GET_RANDOM_16,
    INSTANCE,
    STARTUP_CLEAR,
    Host,
    WorkerProcess,
    connect,
    control,
    opened,
    tpm,
    wait_for,
)
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import Event, Pcrs, ReadPcrs, Stop, Stopped
from vtpmd.ipc.quota import MAX_DETAIL, Quota
from vtpmd.ipc.rules import CODEC, Side, State
from vtpmd.linux.peers import PeerPolicy
from vtpmd.tpm.engine import Engine, Reply
from vtpmd.worker.instance import Instance
from vtpmd.worker.loop import Loop
from vtpmd.worker.options import Listeners, Options
from vtpmd.worker.server import Server
from vtpmd.worker.side import SideThread
from vtpmd.worker.sources import entropy, now
from vtpmd.worker.supervision import Supervision


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


def _adopt(host: Host, worker: WorkerProcess) -> WorkerProcess:
    sock = connect(host.adoption_path, socket.SOCK_SEQPACKET)
    sock.settimeout(None)
    channel = Channel(sock, Side.SUPERVISOR, State.SERVING)
    successor = WorkerProcess(channel, worker.pid, os.dup(worker.pidfd))
    host.workers.append(successor)
    return successor


def test_status_tells_how_it_is(host: Host, worker: WorkerProcess) -> None:
    status = worker.status()
    assert (status.uuid, status.name) == (host.uuid, "web1")
    assert (status.tpm, status.clients, status.commands, status.generation) == ("off", 0, 0, 1)
    assert status.sandbox["mode"] == "require"
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        status = worker.status()
        assert (status.tpm, status.clients, status.commands) == ("on", 2, 1)


def test_a_new_supervisor_finds_the_worker_again(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock:
        control(sock, 0x02, bytes(4))
    before = worker.status()
    worker.channel.close()
    successor = _adopt(host, worker)
    assert successor.status() == before
    assert successor.ask(Stop("upgrade"), Stopped).generation == before.generation
    successor.wait_until_ended()


def test_a_report_finds_the_supervisor_gone_while_a_client_comes(
    host: Host, worker: WorkerProcess
) -> None:
    """In one round of the loop; the newcomer gets the descriptor that the channel had."""
    state = Path(f"/proc/{worker.pid}/stat")
    with connect(host.control_path) as first:
        control(first, 0x02, bytes(4))
        os.kill(worker.pid, signal.SIGSTOP)
        wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
        first.sendall(struct.pack(">II", 0x02, 0))  # its INIT is reported
        worker.channel.close()
        with connect(host.control_path) as second:
            os.kill(worker.pid, signal.SIGCONT)
            assert first.recv(4) == bytes(4)
            assert control(second, 0x04, length=8) == bytes(8)
    assert _adopt(host, worker).status().tpm == "on"


def test_a_second_supervisor_takes_over_from_a_living_one(
    host: Host, worker: WorkerProcess
) -> None:
    successor = _adopt(host, worker)
    assert successor.status().name == "web1"
    assert os.read(worker.channel.fileno(), 1) == b""
    assert _adopt(host, worker).ask(ReadPcrs(), Pcrs).banks == {}


def test_more_than_a_worker_may_tell_is_counted_and_told_in_one_event() -> None:
    told: list[tuple[str, str]] = []
    supervision = Supervision(None, lambda kind, detail: told.append((kind, detail)))
    for _ in range(1000):
        supervision.report("client-connected", "process 4711")
    count = len(told)
    assert 20 <= count < 40
    assert supervision.deadline is not None
    supervision.tick(supervision.deadline - 0.1)
    assert len(told) == count
    supervision.tick(supervision.deadline)
    assert told[count:] == [("events-suppressed", f"{1000 - count} events: they were too many")]
    assert supervision.deadline is None


def test_a_long_detail_is_cut_off() -> None:
    ours, theirs = Channel.pair()
    supervision = Supervision(Channel(ours, Side.WORKER, State.SERVING))
    supervision.report("defect", "x" * 100_000)
    channel = Channel(theirs, Side.SUPERVISOR, State.SERVING)
    assert channel.receive() == (Event("defect", "x" * MAX_DETAIL), [])
    supervision.detach()
    channel.close()


def test_events_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the socket holds and a queue beside it; the newest are lost, and all is in order."""
    monkeypatch.setattr("vtpmd.worker.supervision.workers_quota", lambda: Quota(5000, 0.0))
    ours, theirs = Channel.pair()
    ours.setblocking(False)
    theirs.setblocking(False)
    supervision = Supervision(Channel(ours, Side.WORKER, State.SERVING))
    with theirs:
        for number in range(5000):
            supervision.report("powered-on", str(number))
        heard = []
        channel = Channel(theirs, Side.SUPERVISOR, State.SERVING)
        while True:
            try:
                message, _ = channel.receive()
            except BlockingIOError:
                if not supervision.events & selectors.EVENT_WRITE:
                    break
                supervision.flush()
                continue
            assert isinstance(message, Event)
            heard.append(message.detail)
        supervision.detach()
    assert heard == [str(number) for number in range(len(heard))]
    assert 256 <= len(heard) < 2000


@pytest.mark.parametrize("packet", [b"garbage", CODEC.encode(Stopped(1))])
def test_an_illegal_message_costs_the_channel_only(
    host: Host, worker: WorkerProcess, packet: bytes
) -> None:
    os.write(worker.channel.fileno(), packet)
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        assert len(tpm(data, GET_RANDOM_16)) == 28
    assert _adopt(host, worker).status().tpm == "on"


def test_a_supervisor_that_never_reads_stops_nothing(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        for _ in range(700):  # each gives two events
            assert control(sock, 0x02, bytes(4)) == bytes(4)
        tpm(data, STARTUP_CLEAR)
        assert len(tpm(data, GET_RANDOM_16)) == 28
    wait_for(lambda: worker.status().clients == 0)


def test_the_loop_is_told_of_each_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while all it does is to answer commands: there may be something new to wait for."""
    told: list[float | None] = []
    supervision = Supervision(None)
    monkeypatch.setattr(Loop, "attend", lambda loop: told.append(supervision.deadline))
    engine = Engine.manufacture("default-v1", ["sha256"], entropy, now)
    with opened(tmp_path) as state, closing(SideThread[Reply]()) as side:
        instance = Instance(engine, state, supervision.report)
        options = Options(INSTANCE, "web1", {}, PeerPolicy())
        server = Server(instance, side, Listeners(None, None), supervision, options)
        server.loop.close()
        server._aside.close()
        for _ in range(21):
            instance.execution.report("shutdown", "")
    assert len(told) == 21
    assert told[-1] is not None  # the last was more than a worker may tell
