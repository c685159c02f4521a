"""A live worker and its clients: QEMU's sequence, tools, and those that behave badly."""

import contextlib
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.tpm import areas
from tests.tpm.areas import NO_DA, OWN, SIGN
from tests.tpm.harness import sized
from tests.tpm.raw import authorization, with_sessions
from tests.tpm.seeded_keys import NULL_TICKET
from tests.worker.harness import (
    DEADLINE,
    FAILURE,
    GET_RANDOM_16,
    READ_CLOCK,
    STARTUP_CLEAR,
    SUCCESS,
    Host,
    Qemu,
    WorkerProcess,
    connect,
    control,
    tpm,
    transact,
    wait_for,
)
from vtpmd.ipc.messages import Pcrs, ReadPcrs
from vtpmd.tpm.wire.constants import CC, MLDSA_PARMS, RH

BAD_ORDINAL = bytes.fromhex("0000000a")


@pytest.fixture
def worker(host: Host) -> WorkerProcess:
    return host.serve()


def test_qemu_starts_uses_and_resets_a_tpm(host: Host, worker: WorkerProcess) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert control(qemu.control, 0x05, b"\0\0\0\0") == bytes(4)
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        before = worker.status().generation
        assert len(tpm(qemu.data, GET_RANDOM_16)) == 28
        assert control(qemu.control, 0x04, length=8) == bytes(8)
        qemu.reset()
        after = worker.status()
        assert after.generation > before  # the Shutdown said for the guest is durable
        assert after.tpm == "on"
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert control(qemu.control, 0x03) == bytes(4)
        assert qemu.control.recv(1) == b""
    assert worker.status().tpm == "off"
    with Qemu(host.control_path) as qemu:
        qemu.start()


def test_before_init_commands_fail_and_running_is_demanded(
    host: Host, worker: WorkerProcess
) -> None:
    with connect(host.data_path) as data, connect(host.control_path) as sock:
        assert tpm(data, GET_RANDOM_16).hex() == FAILURE
        for command in (0x06, 0x08, 0x09, 0x0A):
            assert control(sock, command) == BAD_ORDINAL
        assert control(sock, 0x04, length=8) == BAD_ORDINAL + bytes(4)
        assert control(sock, 0x0C, struct.pack(">III", 1, 1, 0), 16) == BAD_ORDINAL + bytes(12)


def test_a_killed_qemu_leaves_the_tpm_running_and_the_next_one_is_served(
    host: Host, worker: WorkerProcess
) -> None:
    qemu = Qemu(host.control_path)
    qemu.start()
    tpm(qemu.data, STARTUP_CLEAR)
    qemu.close()
    worker.event("client-disconnected")
    assert worker.status().tpm == "on"
    with Qemu(host.control_path) as successor:
        successor.start()
        assert tpm(successor.data, STARTUP_CLEAR).hex() == SUCCESS


def test_a_second_data_descriptor_is_refused_while_the_first_lives(
    host: Host, worker: WorkerProcess
) -> None:
    with Qemu(host.control_path) as qemu:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            socket.send_fds(qemu.control, [struct.pack(">I", 0x10)], [theirs.fileno()])
            assert qemu.control.recv(4) == bytes.fromhex("0000001f")
        qemu.data.close()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(qemu.control, [struct.pack(">I", 0x10)], [theirs.fileno()])
            assert qemu.control.recv(4) == bytes(4)
            ours.settimeout(DEADLINE)
            assert tpm(ours, READ_CLOCK).hex() == FAILURE


def test_set_datafd_without_a_descriptor_or_with_a_file_is_refused(
    host: Host, worker: WorkerProcess, tmp_path: Path
) -> None:
    with connect(host.control_path) as sock, (tmp_path / "f").open("wb") as file:
        assert control(sock, 0x10) == bytes.fromhex("0000001f")
        socket.send_fds(sock, [struct.pack(">I", 0x10)], [file.fileno()])
        assert sock.recv(4) == bytes.fromhex("0000001f")


def test_a_split_set_datafd_keeps_its_descriptor(host: Host, worker: WorkerProcess) -> None:
    ours, theirs = socket.socketpair()
    with connect(host.control_path) as sock, ours:
        with theirs:
            socket.send_fds(sock, [b"\0"], [theirs.fileno()])
        sock.sendall(b"\0\0\x10")
        assert sock.recv(4) == bytes(4)
        ours.settimeout(DEADLINE)
        assert tpm(ours, READ_CLOCK).hex() == FAILURE


def test_a_half_message_is_closed_after_its_deadline(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock:
        started = time.monotonic()
        sock.sendall(b"\0\0")
        assert sock.recv(1) == b""
        assert time.monotonic() - started > 0.4


def test_silent_garbled_and_half_clients_lock_nobody_out(host: Host, worker: WorkerProcess) -> None:
    clients = [connect(host.control_path) for _ in range(40)]
    for number, client in enumerate(clients):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # to make place for others
            if number % 3 == 1:
                client.sendall(b"\xff" * 99)
            if number % 3 == 2:
                client.sendall(b"\0")
    with Qemu(host.control_path) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
    for client in clients:
        client.close()
    wait_for(lambda: worker.status().clients == 0)


def test_many_tools_at_once(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock:
        assert control(sock, 0x02, bytes(4)) == bytes(4)
    clients = [connect(host.data_path) for _ in range(12)]
    assert tpm(clients[0], STARTUP_CLEAR).hex() == SUCCESS
    for client in clients:
        client.sendall(bytes.fromhex(GET_RANDOM_16))
    drawn = {client.recv(4096) for client in clients}
    assert {len(response) for response in drawn} == {28}
    assert len(drawn) == 12
    for client in clients:
        client.close()


def test_silent_tools_lock_nobody_out(host: Host, worker: WorkerProcess) -> None:
    silent = [connect(host.data_path) for _ in range(40)]
    with connect(host.data_path) as data:
        assert tpm(data, READ_CLOCK).hex() == FAILURE
    for client in silent:
        client.close()


def test_tss_style_connections_one_command_each(host: Host, worker: WorkerProcess) -> None:
    with connect(host.control_path) as sock:
        assert control(sock, 0x02, struct.pack(">I", 1)) == bytes(4)
    for locality in (1, 0):
        with connect(host.control_path) as sock:
            assert control(sock, 0x05, bytes([locality])) == bytes(4)
    with connect(host.data_path) as data:
        assert tpm(data, STARTUP_CLEAR).hex() == SUCCESS
    with connect(host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28


def test_an_announced_but_unsent_command_is_refused_and_the_channel_lives(
    host: Host, worker: WorkerProcess
) -> None:
    with Qemu(host.control_path) as qemu:
        qemu.start()
        tpm(qemu.data, STARTUP_CLEAR)
        too_long = bytes.fromhex("8001000013880000017b") + bytes(3958)
        assert transact(qemu.data, too_long, 10).hex() == "80010000000a00000142"
        assert transact(qemu.data, bytes.fromhex("8001"), 10).hex() == "80010000000a00000142"
        assert len(tpm(qemu.data, GET_RANDOM_16)) == 28


@pytest.mark.parametrize(("wanted", "given"), [(3968, 3968), (1, 2808), (9999, 4096)])
def test_the_properties_of_the_tpm_follow_the_buffer(
    host: Host, worker: WorkerProcess, wanted: int, given: int
) -> None:
    """TPM_PT_MAX_COMMAND_SIZE and TPM_PT_MAX_RESPONSE_SIZE, also after the next INIT."""
    with Qemu(host.control_path) as qemu:
        qemu.start()
        control(qemu.control, 0x0E)
        control(qemu.control, 0x11, struct.pack(">I", wanted), 16)
        for _ in range(2):
            control(qemu.control, 0x02, bytes(4))
            tpm(qemu.data, STARTUP_CLEAR)
            response = tpm(qemu.data, "8001000000160000017a000000060000011e00000002")
            assert struct.unpack(">IIII", response[-16:]) == (0x11E, given, 0x11F, given)


def test_a_large_buffer_carries_what_needs_it(host: Host) -> None:
    """Only where the client asks for it, of a TPM that has such keys; a reset keeps it."""
    host.forget()
    host.manufacture(profile="pqc-v1")
    host.serve()
    template = areas.mldsa(OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_87, external_mu=True)
    parameters = areas.create_parameters(template)
    creation = with_sessions(CC.CREATE_PRIMARY, RH.NULL.to_bytes(4), [authorization()], parameters)
    signing = with_sessions(
        CC.SIGN_DIGEST,
        (0x80000000).to_bytes(4),
        [authorization()],
        sized(b"") + sized(bytes(64)) + NULL_TICKET,
    )
    with Qemu(host.control_path) as qemu:
        assert qemu.attached == bytes(4)
        for wanted, given, size in ((0, 4096, 10), (1, 3968, 10), (1 << 20, 8192, 4650)):
            control(qemu.control, 0x0E)
            sizes = control(qemu.control, 0x11, struct.pack(">I", wanted), 16)
            assert struct.unpack(">IIII", sizes) == (0, given, 3968, 8192)
            for _ in range(2):
                control(qemu.control, 0x02, bytes(4))
                tpm(qemu.data, STARTUP_CLEAR)
                made = tpm(qemu.data, creation.hex())
                signed = transact(qemu.data, signing, size)
                if size == 10:
                    assert made[6:].hex() == "000002ea", "TPM_RC_PARMS"
                else:
                    assert signed[:10] == struct.pack(">HII", 0x8002, size, 0)


def test_startup_option_serves_cloud_hypervisor(host: Host) -> None:
    worker = host.serve(startup=True)
    with connect(host.control_path) as sock:
        assert control(sock, 0x04, length=8) == bytes(8)
    with connect(host.data_path) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
    with connect(host.control_path) as sock:
        assert control(sock, 0x03) == bytes(4)
    with connect(host.control_path) as sock:
        assert control(sock, 0x04, length=8) == bytes(8)
    assert worker.status().tpm == "on"


@pytest.mark.parametrize(("permitted", "code"), [(False, "00000101"), (True, "00000000")])
def test_vendor_set_locality_needs_permission(host: Host, permitted: bool, code: str) -> None:
    host.serve(set_locality=permitted)
    with connect(host.data_path) as data:
        assert tpm(data, "80010000000b2000100003").hex() == "80010000000a" + code


def test_pcrs_are_shown_while_the_tpm_is_on(host: Host, worker: WorkerProcess) -> None:
    assert worker.ask(ReadPcrs(), Pcrs).banks == {}
    with connect(host.control_path) as sock, connect(host.data_path) as data:
        control(sock, 0x02, bytes(4))
        tpm(data, STARTUP_CLEAR)
        assert worker.ask(ReadPcrs(), Pcrs).banks["sha256"][0] == bytes(32)
