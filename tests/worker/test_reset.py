"""What becomes of a TPM whose machine is reset, killed or sent to sleep: Reset, Restart, Resume.

Part 1, 9.2.3: a TPM Reset draws a new null seed and context key, counts resetCount and forgets
saved sessions; a Restart and a Resume keep all of that and count restartCount.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.worker.harness import (
    GET_RANDOM_16,
    READ_CLOCK,
    SHUTDOWN_CLEAR,
    SHUTDOWN_STATE,
    STARTUP_CLEAR,
    STARTUP_STATE,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    control,
    tpm,
)

PCR_EXTEND_16 = "80020000004100000182000000100000000940000009000000000000000001000b" + "11" * 32
START_SESSION = "80010000002b000001764000000740000007" + "0010" + "22" * 16 + "000000" + "0010000b"
NULL_PRIMARY = (
    "80020000004300000131400000070000000940000009000000000000040000000000"
    "1a"
    "0023000b0003047200000006008000430010000300100000" + "0000" + "0000" + "00000000"
)
SAVE_CONTEXT, LOAD_CONTEXT, FLUSH_CONTEXT = 0x162, 0x161, 0x165
LOCKOUT_COUNTER = "8001000000160000017a000000060000020e00000001"
INTEGRITY, VALUE = "000001df", "000001c4"


def command(code: int, body: bytes) -> str:
    return struct.pack(">HII", 0x8001, 10 + len(body), code).hex() + body.hex()


def ok(response: bytes) -> bytes:
    assert response[6:10] == bytes(4), response.hex()
    return response


@dataclass(frozen=True)
class Traces:
    """What one boot leaves behind for the next one to look at."""

    counts: tuple[int, int]
    null_key: bytes
    key_context: bytes
    session_context: bytes

    @classmethod
    def left(cls, qemu: Qemu) -> "Traces":
        key = ok(tpm(qemu.data, NULL_PRIMARY))
        session = ok(tpm(qemu.data, START_SESSION))
        contexts = [
            ok(tpm(qemu.data, command(SAVE_CONTEXT, answer[10:14])))[10:]
            for answer in (key, session)
        ]
        ok(tpm(qemu.data, command(FLUSH_CONTEXT, key[10:14])))
        return cls(counts(qemu), _unique(key), *contexts)


def _unique(key: bytes) -> bytes:
    size = int.from_bytes(key[18:20])
    return key[20 : 20 + size][-68:]


def counts(qemu: Qemu) -> tuple[int, int]:
    """resetCount and restartCount."""
    return struct.unpack_from(">II", ok(tpm(qemu.data, READ_CLOCK)), 26)


def assert_reset(qemu: Qemu, before: Traces) -> None:
    """The TPM has had a Reset since."""
    assert counts(qemu) == (before.counts[0] + 1, 0)
    assert tpm(qemu.data, command(LOAD_CONTEXT, before.key_context))[6:10].hex() == INTEGRITY
    assert tpm(qemu.data, command(LOAD_CONTEXT, before.session_context))[6:10] != bytes(4)
    key = ok(tpm(qemu.data, NULL_PRIMARY))
    assert _unique(key) != before.null_key
    ok(tpm(qemu.data, command(FLUSH_CONTEXT, key[10:14])))


def assert_kept(qemu: Qemu, before: Traces) -> None:
    """The TPM has had a Restart or a Resume since."""
    assert counts(qemu) == (before.counts[0], before.counts[1] + 1)
    ok(tpm(qemu.data, command(LOAD_CONTEXT, before.session_context)))
    key = ok(tpm(qemu.data, NULL_PRIMARY))
    assert _unique(key) == before.null_key
    ok(tpm(qemu.data, command(FLUSH_CONTEXT, key[10:14])))


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


def boot(host: Host) -> Qemu:
    qemu = Qemu(host.control_path)
    qemu.start()
    return qemu


def _machine_reset(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    qemu.reset()
    return qemu


def _init_alone(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    assert control(qemu.control, 0x02, bytes(4)) == bytes(4)
    return qemu


def _machine_off(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    assert control(qemu.control, 0x03) == bytes(4)
    qemu.close()
    return boot(host)


def _qemu_killed(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    qemu.close()
    return boot(host)


def _worker_stopped(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    worker.stop()
    qemu.close()
    host.serve()
    return boot(host)


def _worker_killed(host: Host, worker: WorkerProcess, qemu: Qemu) -> Qemu:
    worker.kill()
    qemu.close()
    host.serve()
    return boot(host)


Way = Callable[[Host, WorkerProcess, Qemu], Qemu]
WAYS = [
    _machine_reset,
    _init_alone,
    _machine_off,
    _qemu_killed,
    _worker_stopped,
    _worker_killed,
]


@pytest.mark.parametrize("way", WAYS)
def test_unannounced_ends_are_a_reset(host: Host, worker: WorkerProcess, way: Way) -> None:
    qemu = boot(host)
    ok(tpm(qemu.data, STARTUP_CLEAR))
    before = Traces.left(qemu)
    with way(host, worker, qemu) as qemu:
        assert tpm(qemu.data, STARTUP_STATE)[6:10].hex() == VALUE  # there is nothing to resume
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert_reset(qemu, before)


@pytest.mark.parametrize("way", WAYS)
def test_a_suspend_that_is_aborted_is_forgotten(
    host: Host, worker: WorkerProcess, way: Way
) -> None:
    """The guest goes on after its Shutdown(STATE): what that saved is no longer current."""
    qemu = boot(host)
    ok(tpm(qemu.data, STARTUP_CLEAR))
    before = Traces.left(qemu)
    ok(tpm(qemu.data, SHUTDOWN_STATE))
    ok(tpm(qemu.data, PCR_EXTEND_16))
    with way(host, worker, qemu) as qemu:
        assert tpm(qemu.data, STARTUP_STATE)[6:10].hex() == VALUE
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert_reset(qemu, before)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("startup", [STARTUP_CLEAR, STARTUP_STATE], ids=["S4", "S3"])
def test_the_guests_own_shutdown_stays_in_force(
    host: Host, worker: WorkerProcess, way: Way, startup: str
) -> None:
    qemu = boot(host)
    ok(tpm(qemu.data, STARTUP_CLEAR))
    before = Traces.left(qemu)
    ok(tpm(qemu.data, SHUTDOWN_STATE))
    ok(tpm(qemu.data, GET_RANDOM_16))  # voids nothing
    with way(host, worker, qemu) as qemu:
        assert tpm(qemu.data, startup).hex() == SUCCESS
        assert_kept(qemu, before)


def test_what_is_said_for_a_guest_is_no_failed_try_and_not_said_twice(
    host: Host, worker: WorkerProcess
) -> None:
    with boot(host) as qemu:
        for _ in range(40):  # more than there may be failed tries, or saved sessions
            ok(tpm(qemu.data, STARTUP_CLEAR))
            session = ok(tpm(qemu.data, START_SESSION))
            ok(tpm(qemu.data, command(SAVE_CONTEXT, session[10:14])))
            qemu.reset()
        ok(tpm(qemu.data, STARTUP_CLEAR))
        assert ok(tpm(qemu.data, LOCKOUT_COUNTER))[-4:] == bytes(4)
        ok(tpm(qemu.data, SHUTDOWN_CLEAR))
        generation = worker.status().generation
        qemu.reset()
        assert worker.status().generation == generation
