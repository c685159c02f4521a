"""The zygote: what it forks, what a worker inherits, and what it costs."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.worker.harness import (
    DEADLINE,
    GET_RANDOM_16,
    STARTUP_CLEAR,
    Host,
    WorkerProcess,
    Zygote,
    connect,
    control,
    tpm,
    wait_for,
)
from tests.worker.test_blanks import ready
from vtpmd.ipc.messages import Exit, ReadExit, Status
from vtpmd.ipc.rules import State
from vtpmd.worker import immortal
from vtpmd.worker.errors import EXIT_FAILED
from vtpmd.worker.zygote import EXIT_ILLEGAL_MESSAGE

_SPAWN_BUDGET = 0.5  # seconds from Spawn to Ready; about 10 ms on an idle machine


def _descriptors(pid: int) -> dict[int, str]:
    return {int(fd.name): os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}


def _access_mode(pid: int, fd: int) -> int:
    (flags,) = re.findall(r"^flags:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text(), re.M)
    return int(flags, 8) & os.O_ACCMODE


def test_nobody_has_the_daemons_log_once_the_zygote_is_warm(tmp_path: Path) -> None:
    zygote = Zygote(subprocess.PIPE)
    host = Host(zygote, tmp_path)
    try:
        host.manufacture()
        host.serve(startup=True)
        assert zygote.process.stderr is not None
        with zygote.process.stderr as stderr:
            assert select.select([stderr], [], [], DEADLINE)[0], "somebody can still write"
            assert stderr.read() == b""
        assert zygote.process.poll() is None
    finally:
        host.close()
        zygote.close()


def _exit(zygote: Zygote, worker: WorkerProcess) -> Exit:
    worker.wait_until_ended()
    zygote.channel.send(ReadExit(worker.pid))
    assert select.select([zygote.channel], [], [], DEADLINE)[0]
    answer, _ = zygote.channel.receive()
    assert isinstance(answer, Exit)
    return answer


def test_the_zygote_says_how_a_worker_ended(host: Host, zygote: Zygote) -> None:
    worker = zygote.spawn()
    worker.kill()
    assert _exit(zygote, worker) == Exit(worker.pid, "killed", signal.SIGKILL)
    assert _exit(zygote, worker) == Exit(worker.pid)  # told once, and then forgotten
    worker.close()
    worker = zygote.spawn()
    worker.channel.close()
    assert _exit(zygote, worker) == Exit(worker.pid, "exited", EXIT_FAILED)
    os.close(worker.pidfd)
    worker = host.serve()
    worker.stop()
    assert _exit(zygote, worker) == Exit(worker.pid, "exited", 0)


def test_what_nobody_asks_for_is_kept_for_a_limited_number_of_workers() -> None:
    script = (
        "import os, collections, vtpmd.worker.zygote as z\n"
        "from vtpmd.worker.blanks import Blanks\n"
        "z._MAX_EXITS = 3\n"
        "exits = collections.OrderedDict()\n"
        "for status in range(5):\n"
        "    if os.fork() == 0:\n"
        "        os._exit(status)\n"
        "    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n"
        "    z._reap(Blanks(None, None), exits)\n"
        "print([each.number for each in exits.values()])\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout == b"[2, 3, 4]\n"


def test_workers_are_ended_before_the_daemon_when_memory_runs_out(
    host: Host, zygote: Zygote
) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    for pid in (zygote.process.pid, host.serve().pid):
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == min(1000, ours + 500)


def test_siblings_draw_different_random_numbers(zygote: Zygote, tmp_path: Path) -> None:
    hosts = []
    drawn = []
    for number in range(3):
        root = tmp_path / str(number)
        root.mkdir()
        host = Host(zygote, root)
        hosts.append(host)
        host.manufacture()
        host.serve(startup=True)
        with connect(host.data_path) as data:
            drawn.append(tpm(data, GET_RANDOM_16)[12:])
    for host in hosts:
        host.close()
    assert len(set(drawn)) == 3
    assert len({host.stored() for host in hosts}) == 3


def test_libraries_draw_differently_in_siblings_of_a_warm_zygote() -> None:
    """OpenSSL's generator has state of its own that a fork copies."""
    script = (
        "import os, vtpmd.worker.zygote as z\n"
        "from cryptography.hazmat.primitives.asymmetric import ec\n"
        "z._warm()\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        key = ec.generate_private_key(ec.SECP256R1())\n"
        "        os.write(1, b'%d\\n' % key.public_key().public_numbers().x)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert len(set(result.stdout.split())) == 3


def test_a_worker_holds_only_what_it_was_given(host: Host, zygote: Zygote) -> None:
    others = [zygote.spawn() for _ in range(3)]
    worker = host.serve()
    held = _descriptors(worker.pid)
    assert [held[fd] for fd in (0, 1, 2)] == ["/dev/null"] * 3
    assert [_access_mode(worker.pid, fd) for fd in (0, 1, 2)] == [os.O_RDONLY, *[os.O_WRONLY] * 2]
    state = [path for path in held.values() if path.startswith(str(host.root))]
    files = ("incoming", "lock", "nvram", "volatile")
    assert sorted(state) == [str(host.state / name) for name in files]
    sockets = [path for path in held.values() if path.startswith("socket:")]
    assert len(sockets) == 4  # channel, control, adoption and data listener
    for other in others:
        other.close()


def test_the_zygote_has_one_thread_and_no_more_descriptors_after_many_spawns(
    zygote: Zygote,
) -> None:
    ready(zygote)
    before = len(_descriptors(zygote.process.pid))
    for _ in range(5):
        zygote.spawn().close()
    ready(zygote)
    assert len(os.listdir(f"/proc/{zygote.process.pid}/task")) == 1
    # What it has sent us of the last worker it may be about to close.
    wait_for(lambda: len(_descriptors(zygote.process.pid)) == before)


def test_workers_outlive_zygote_and_supervisor(tmp_path: Path) -> None:
    zygote = Zygote(subprocess.DEVNULL)
    host = Host(zygote, tmp_path)
    host.manufacture()
    worker = host.serve(startup=True)
    zygote.close()
    worker.channel.close()
    with connect(host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
    worker.kill()
    host.close()


def test_an_illegal_message_ends_the_zygote_not_the_workers(tmp_path: Path) -> None:
    zygote = Zygote()
    host = Host(zygote, tmp_path)
    host.manufacture()
    host.serve(startup=True)
    socket_fd = os.dup(zygote.channel.fileno())
    os.write(socket_fd, b"garbage")
    os.close(socket_fd)
    assert zygote.process.wait(10) == EXIT_ILLEGAL_MESSAGE
    with connect(host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
    zygote.channel.close()
    host.close()


def test_a_worker_without_an_order_ends_when_its_channel_does(zygote: Zygote) -> None:
    worker = zygote.spawn()
    worker.channel.close()
    worker.wait_until_ended()
    os.close(worker.pidfd)


def test_an_illegal_order_ends_the_worker(zygote: Zygote) -> None:
    worker = zygote.spawn()
    worker.channel.state = State.SERVING
    worker.channel.send(Status())
    worker.wait_until_ended()
    worker.close()


def test_a_fork_without_single_thread_is_refused() -> None:
    script = (
        "import threading, time, vtpmd.worker.zygote as z\n"
        "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "try:\n    z._settle()\nexcept z.NotSingleThreadedError:\n    print('refused')\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout == b"refused\n"


def test_spawning_is_quick(host: Host) -> None:
    """The quickest of a few: the slowest says as much of the machine's load as of us."""
    fastest = float("inf")
    for _ in range(5):
        started = time.monotonic()
        worker = host.serve()
        fastest = min(fastest, time.monotonic() - started)
        worker.stop()
    assert fastest < _SPAWN_BUDGET


def test_an_idle_worker_shares_most_of_its_memory(host: Host) -> None:
    worker = host.serve()
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
    rollup = Path(f"/proc/{worker.pid}/smaps_rollup").read_text().splitlines()
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in rollup[1:]}
    private = kilobytes["Private_Dirty:"] + kilobytes["Private_Clean:"]
    assert private < (3 if immortal.supported() else 6.5) * 1024, kilobytes
    assert select.select([worker.pidfd], [], [], 0) == ([], [], [])
