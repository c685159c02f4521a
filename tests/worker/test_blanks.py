"""Blank workers: ready before they are asked for, alone with their zygote, gone when it is."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from tests.worker.harness import (
    DEADLINE,
    GET_RANDOM_16,
    Host,
    WorkerProcess,
    Zygote,
    connect,
    tpm,
    wait_for,
)
from vtpmd.ipc.messages import Examine, Failed
from vtpmd.worker.blanks import READY


def blanks(zygote: Zygote, *workers: WorkerProcess) -> list[int]:
    """Process ids of the zygote's blanks: its children but for these workers."""
    pid = zygote.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if int(child) not in {each.pid for each in workers}]


def ready(zygote: Zygote, *workers: WorkerProcess) -> list[int]:
    """The same, once there are as many as there shall be and all have rehearsed."""
    found: list[int] = []

    def complete() -> bool:
        found[:] = blanks(zygote, *workers)
        try:
            return len(found) == READY and all(len(_descriptors(pid)) == 4 for pid in found)
        except FileNotFoundError:  # a worker that has ended meanwhile
            return False

    wait_for(complete)
    return found


def _descriptors(pid: int) -> list[str]:
    return [os.readlink(fd) for fd in sorted(Path(f"/proc/{pid}/fd").iterdir())]


def test_a_blank_has_the_null_device_and_its_socket_alone(zygote: Zygote) -> None:
    for pid in ready(zygote):
        *null, channel = _descriptors(pid)
        assert null == ["/dev/null"] * 3
        assert channel.startswith("socket:")
        assert os.getsid(pid) == pid
        assert len(os.listdir(f"/proc/{pid}/task")) == 1


def test_a_blank_becomes_the_worker_and_is_replaced(zygote: Zygote) -> None:
    before = ready(zygote)
    worker = zygote.spawn()
    assert worker.pid == before[0]
    assert before[1] in ready(zygote, worker)
    worker.close()


def test_more_workers_than_there_are_blanks_are_forked_at_once(zygote: Zygote) -> None:
    ready(zygote)
    workers = [zygote.spawn() for _ in range(READY + 2)]
    assert len({each.pid for each in workers}) == READY + 2
    for worker in workers:
        worker.close()


def test_a_blank_that_was_killed_is_nobodys_worker(host: Host, zygote: Zygote) -> None:
    for pidfd in [os.pidfd_open(pid) for pid in ready(zygote)]:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], DEADLINE)[0]
        os.close(pidfd)
    host.serve(startup=True)
    with connect(host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_blanks_that_end_by_themselves_are_not_replaced_in_haste(zygote: Zygote) -> None:
    """Whatever ends one, as want of memory does, may end the next."""
    for pid in ready(zygote):
        os.kill(pid, signal.SIGKILL)
    assert not select.select([], [], [], 0.3)[0]
    assert blanks(zygote) == []
    assert len(ready(zygote)) == READY


def test_an_order_for_a_blank_that_still_rehearses_waits_for_it(zygote: Zygote) -> None:
    """Each turn finds the next blank at another point of its rehearsal."""
    for milliseconds in range(10, 30):
        select.select([], [], [], milliseconds / 1000)
        worker = zygote.spawn()
        with Path("/dev/null").open() as nothing:
            order = Examine(Host.uuid, "x", bytearray(32), sandbox="off")
            assert worker.ask(order, Failed, [nothing.fileno()]).kind == "storage"
        worker.close()


def test_blanks_end_with_their_zygote_however_it_ends() -> None:
    for number in (None, signal.SIGKILL):
        zygote = Zygote(subprocess.DEVNULL)
        held = [os.pidfd_open(pid) for pid in ready(zygote)]
        if number is None:
            zygote.close()
        else:
            zygote.process.send_signal(number)
            zygote.process.wait(DEADLINE)
            zygote.channel.close()
        for pidfd in held:
            assert select.select([pidfd], [], [], DEADLINE)[0], "it lives on"
            os.close(pidfd)


def test_a_rehearsal_leaves_what_is_not_its_own_alone() -> None:
    """A blank has closed what it was forked with; the numbers are other descriptors' then."""
    script = (
        "import os, socket\n"
        "from vtpmd.worker.rehearsal import Rehearsal\n"
        "os.closerange(3, 256)\n"
        "rehearsal = Rehearsal()\n"
        "os.closerange(3, 256)\n"
        "waiting, sender = zip(*[socket.socketpair() for _ in range(8)])\n"
        "for each in sender:\n"
        "    each.send(b'an order')\n"
        "before = os.listdir('/proc/self/fd')\n"
        "*_, answer = rehearsal.run()\n"
        "assert len(answer) == 28 and answer[6:10] == bytes(4), answer\n"
        "assert os.listdir('/proc/self/fd') == before\n"
        "assert all(each.recv(9) == b'an order' for each in waiting)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=DEADLINE)
