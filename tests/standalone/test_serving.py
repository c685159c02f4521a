"""vtpmd-swtpm with real clients: tpm2-tools, swtpm_ioctl, and what QEMU would send."""

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standalone.process import STARTED, Place, command, ended, terminate
from tests.worker.harness import FAILURE, GET_RANDOM_16, SUCCESS, Qemu, connect, control, tpm

pytestmark = pytest.mark.slow

CMD_INIT, CMD_SHUTDOWN, CMD_ESTABLISHED, CMD_SET_LOCALITY, CMD_RESET = 2, 3, 4, 5, 11
INITIALIZE = "80010000000a00000100"
STARTUP_CLEAR, STARTUP_STATE = "80010000000c000001440000", "80010000000c000001440001"
READ_CLOCK = "80010000000a00000181"


def tool(tcti: str, line: str, given: str = "") -> str:
    """The output of `tpm2 LINE`, which must succeed."""
    done = subprocess.run(
        ["tpm2", *line.split()],
        env={**os.environ, "TPM2TOOLS_TCTI": tcti},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"tpm2 {line}: {done.stderr}"
    return done.stdout


def ioctl(where: str, *arguments: str) -> str:
    done = subprocess.run(
        ["swtpm_ioctl", *where.split(), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"swtpm_ioctl {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


# --- clients over TCP and Unix sockets ----------------------------------------------------------


def test_tools_over_tcp_keep_what_they_stored(place: Place) -> None:
    process, port = place.serve_tcp(*STARTED)
    tcti = f"swtpm:host=127.0.0.1,port={port}"
    tool(tcti, "nvdefine 0x1500001 -C o -s 8")
    tool(tcti, "nvwrite 0x1500001 -C o -i -", given="survives")
    tool(tcti, f"createprimary -Q -C o -c {place.directory}/primary")
    tool(tcti, f"evictcontrol -Q -C o -c {place.directory}/primary 0x81000001")
    name = tool(tcti, "readpublic -c 0x81000001")
    assert terminate(process) == 0
    _, port = place.serve_tcp(*STARTED)
    tcti = f"swtpm:host=127.0.0.1,port={port}"
    assert tool(tcti, "nvread 0x1500001 -C o") == "survives"
    assert tool(tcti, "readpublic -c 0x81000001") == name


def test_tools_over_unix_sockets(place: Place) -> None:
    place.serve("--flags", "not-need-init")
    tcti = f"swtpm:path={place.data}"
    tool(tcti, "startup -c")
    assert len(tool(tcti, "getrandom --hex 16")) == 32
    banks = tool(tcti, "getcap pcrs")
    assert all(bank in banks for bank in ("sha1", "sha256", "sha384", "sha512"))


def test_swtpm_ioctl_over_tcp(place: Place) -> None:
    process, port = place.serve_tcp("--flags", "not-need-init")
    where = f"--tcp 127.0.0.1:{port + 1}"
    assert "0x1ffff" in ioctl(where, "-c")
    ioctl(where, "--stop")
    assert "3000" in ioctl(where, "-b", "3000")
    ioctl(where, "-i")
    ioctl(where, "-l", "3")
    tool(f"swtpm:port={port}", "startup -c")
    ioctl(where, "-h", "measured")
    digests = tool(f"swtpm:port={port}", "pcrread sha256:17")
    assert "0" * 64 not in digests
    ioctl(where, "-s")
    assert ended(process) == 0


def test_descriptors_do_not_travel_over_tcp(place: Place) -> None:
    _, port = place.serve_tcp(*STARTED)
    with socket.create_connection(("127.0.0.1", port + 1), 30) as sock:
        sock.sendall(b"\0\0\0\x10")
        assert sock.recv(4) == b"\0\0\0\x1f"


def test_qemu_brings_its_data_channel(place: Place) -> None:
    process = place.start(
        "--ctrl", f"type=unixio,path={place.control},mode=0600", sockets=[place.control]
    )
    assert place.control.stat().st_mode & 0o777 == 0o600
    with Qemu(place.control) as qemu:
        qemu.start()
        assert tpm(qemu.data, STARTUP_CLEAR).hex() == SUCCESS
        assert control(qemu.control, CMD_SHUTDOWN) == bytes(4)
    assert ended(process) == 0
    assert not place.control.exists()


def run_qemu(place: Place) -> subprocess.CompletedProcess[bytes]:
    """A real QEMU that powers its machine on and is quit at once."""
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    return subprocess.run(
        [
            *("qemu-system-x86_64", "-machine", "q35,accel=tcg", "-nodefaults", "-display", "none"),
            *("-monitor", "stdio", "-chardev", f"socket,id=tpm,path={place.control}"),
            *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"),
        ],
        input=b"quit\n",
        capture_output=True,
        timeout=60,
    )


def test_qemu_itself(place: Place) -> None:
    ctrl = ("--ctrl", f"type=unixio,path={place.control}")
    process = place.start(*ctrl, "--terminate", "--log", "level=20", sockets=[place.control])
    done = run_qemu(place)
    assert done.returncode == 0, done.stderr
    assert ended(process) == 0
    assert "powered-on" in place.errors()
    assert "command=SET_DATAFD" in place.errors()


def test_qemu_says_so_and_ends_where_the_state_is_damaged(place: Place) -> None:
    terminate(place.serve(*STARTED))
    (place.state / "nvram").write_bytes(b"damaged")
    ctrl = ("--ctrl", f"type=unixio,path={place.control}")
    process = place.start(*ctrl, "--terminate", sockets=[place.control])
    done = run_qemu(place)
    assert done.returncode == 1
    assert b"TPM result for CMD_INIT: 0x9 operation failed" in done.stderr
    assert ended(process) == 0


def test_who_hears_that_it_ends_finds_its_sockets_free(place: Place) -> None:
    """Another TPM may be started on them at once, whatever is still to be done here."""
    process = place.serve(*STARTED)
    with connect(place.data) as data, connect(place.control) as sock:
        sock.sendall(CMD_SHUTDOWN.to_bytes(4))
        assert select.select([sock], [], [], 30)[0]
        assert not place.control.exists()
        assert not place.data.exists()
        assert sock.recv(64) == bytes(4)
        assert data.recv(1) == b""
    assert ended(process) == 0


def test_connections_may_be_inherited(place: Place) -> None:
    """As swtpm_setup starts it: two connected sockets and no name anywhere."""
    control_end, theirs = socket.socketpair()
    data_end, their_data = socket.socketpair()
    with theirs, their_data:
        process = place.start(
            *("--ctrl", f"type=unixio,clientfd={theirs.fileno()}"),
            *("--server", f"type=tcp,fd={their_data.fileno()}", "--flags", "not-need-init"),
            fds=(theirs.fileno(), their_data.fileno()),
            sockets=(),
        )
    with control_end, data_end:
        control_end.settimeout(30)
        data_end.settimeout(30)
        assert control(control_end, 1, length=8)[:4] == bytes(4)
        assert tpm(data_end, STARTUP_CLEAR).hex() == SUCCESS
    assert ended(process) == 0


def test_a_listening_socket_may_be_inherited(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = place.start(
            *("--ctrl", f"type=tcp,fd={listener.fileno()}"), fds=[listener.fileno()], sockets=()
        )
        address = listener.getsockname()
    with socket.create_connection(address, 30) as sock:
        assert control(sock, 1, length=8)[:4] == bytes(4)
    assert terminate(process) == 0


# --- flags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        ([], FAILURE),
        (["--flags", "startup-none"], FAILURE),
        (["--flags", "not-need-init"], INITIALIZE),
        (["--flags", "not-need-init,startup-none"], INITIALIZE),
        (["--flags", "startup-state"], INITIALIZE),
        (["--flags", "startup-clear"], None),
        (["--flags", "not-need-init,startup-clear,disable-auto-shutdown"], None),
    ],
)
def test_what_flags_do_before_the_first_command(
    place: Place, flags: list[str], answer: str | None
) -> None:
    place.serve(*flags)
    with connect(place.data) as data:
        response = tpm(data, GET_RANDOM_16)
    if answer is None:
        assert len(response) == 28
    else:
        assert response.hex() == answer


def test_startup_state_resumes_what_shutdown_saved(place: Place) -> None:
    process = place.serve("--flags", "startup-clear")
    tcti = f"swtpm:path={place.data}"
    extended = f"sha256={'11' * 32}"
    tool(tcti, f"pcrextend 16:{extended}")
    tool(tcti, f"pcrextend 0:{extended}")
    before = tool(tcti, "pcrread sha256:0")
    tool(tcti, "shutdown")  # (STATE), as a guest says it
    assert terminate(process) == 0
    place.serve("--flags", "startup-state")
    assert tool(tcti, "pcrread sha256:0") == before


def test_what_is_said_for_a_guest_that_is_killed_cannot_be_resumed(place: Place) -> None:
    process = place.serve("--flags", "startup-clear")
    assert terminate(process) == 0
    place.serve("--flags", "startup-state")
    with connect(place.data) as data:
        assert tpm(data, GET_RANDOM_16).hex() == INITIALIZE
    assert "startup-refused" in place.errors()


def test_without_auto_shutdown_the_state_is_lost(place: Place) -> None:
    process = place.serve("--flags", "startup-clear,disable-auto-shutdown")
    assert terminate(process) == 0
    process = place.serve("--flags", "startup-state,disable-auto-shutdown")
    with connect(place.data) as data:
        assert tpm(data, GET_RANDOM_16).hex() == INITIALIZE
    assert "startup-refused" in place.errors()


# --- locality -----------------------------------------------------------------------------------


def test_localities_are_limited_where_asked_for(place: Place) -> None:
    place.serve(*STARTED, "--locality", "reject-locality-4,allow-set-locality")
    with connect(place.control) as sock:
        assert control(sock, CMD_SET_LOCALITY, b"\4") == b"\0\0\0\x3d"
        assert control(sock, CMD_SET_LOCALITY, b"\3") == bytes(4)
        assert control(sock, CMD_RESET, b"\4") == bytes(4)
    with connect(place.data) as data:
        assert tpm(data, "80010000000b2000100004").hex() == "80010000000a00000107"
        assert tpm(data, "80010000000b2000100002").hex() == SUCCESS
        data.sendall(bytes.fromhex("00000008040000000a" + READ_CLOCK))
        assert data.recv(64)[4:14].hex() == "80010000000a00000907"


def test_locality_4_is_served_and_the_vendor_command_is_not_by_default(place: Place) -> None:
    place.serve(*STARTED)
    with connect(place.control) as sock:
        assert control(sock, CMD_SET_LOCALITY, b"\4") == bytes(4)
    with connect(place.data) as data:
        assert tpm(data, "80010000000b2000100002").hex() == FAILURE


# --- what ends it -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_in_order(place: Place, number: signal.Signals) -> None:
    process = place.serve(*STARTED)
    assert terminate(process, number) == 0
    assert not place.data.exists()
    assert not place.control.exists()


def test_a_signal_while_it_starts_leaves_nothing_behind(place: Place) -> None:
    process = place.start(*place.sockets)  # its sockets are there before the engine is loaded
    assert terminate(process) == 0
    assert not place.data.exists()
    assert not place.control.exists()


def test_terminate_ends_with_the_data_connection(place: Place) -> None:
    process = place.serve(*STARTED, "--terminate")
    with connect(place.control) as sock:
        control(sock, CMD_ESTABLISHED, length=8)
    with connect(place.data) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
        assert process.poll() is None, "the control connection's end is no reason"
    assert ended(process) == 0


def test_terminate_ends_when_qemu_does(place: Place) -> None:
    """As libvirt starts it."""
    process = place.start(
        "-t", "--ctrl", f"type=unixio,path={place.control}", sockets=[place.control]
    )
    with Qemu(place.control) as qemu:
        qemu.start()
    assert ended(process) == 0


def test_the_control_channel_may_end_it(place: Place) -> None:
    process = place.start(
        *("--server", f"type=unixio,path={place.data}", *STARTED),
        *("--ctrl", f"type=unixio,path={place.control},terminate"),
    )
    with connect(place.data) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
    with connect(place.control) as sock:
        control(sock, CMD_ESTABLISHED, length=8)
        assert process.poll() is None, "the data connection's end is no reason"
    assert ended(process) == 0


def test_disconnect_ends_a_connection_with_its_response(place: Place) -> None:
    place.start("--server", f"path={place.data},disconnect", *STARTED, sockets=[place.data])
    for _ in range(2):
        with connect(place.data) as data:
            assert len(tpm(data, GET_RANDOM_16)) == 28
            assert data.recv(1) == b""


# --- the process --------------------------------------------------------------------------------


def test_pid_file_and_log(place: Place) -> None:
    pid = place.directory / "pid"
    place.log.write_text("old\n")
    process = place.serve(
        *("--pid", f"file={pid}", "--log", f"file={place.log},level=5,prefix=web1: ,truncate"),
        *STARTED,
    )
    assert pid.read_text() == f"{process.pid}\n"
    assert terminate(process) == 0
    assert not pid.exists()
    lines = place.log.read_text().splitlines()
    assert lines
    assert all(line.startswith("web1: ") for line in lines)
    assert any("keyring-created" in line for line in lines)
    assert place.errors() == ""


@pytest.fixture
def daemon(place: Place) -> Iterator[int]:
    """The process id of a TPM that was started with --daemon."""
    pid = place.directory / "pid"
    status, output, errors = command(
        *("socket", "--tpm2", "--tpmstate", f"dir={place.state}", *place.sockets, *STARTED),
        *("--daemon", "--pid", f"file={pid}", "--log", f"file={place.log}"),
    )
    assert (status, output, errors) == (0, "", "")
    number = int(pid.read_text())
    yield number
    handle = os.pidfd_open(number)
    os.kill(number, signal.SIGTERM)
    assert select.select([handle], [], [], 30)[0], "the daemon did not end"
    os.close(handle)


def test_a_daemon_is_ready_when_its_starter_ends(place: Place, daemon: int) -> None:
    with connect(place.data) as data:
        assert len(tpm(data, GET_RANDOM_16)) == 28
    assert os.getsid(daemon) == daemon
    streams = {os.readlink(f"/proc/{daemon}/fd/{stream}") for stream in range(3)}
    assert streams == {os.devnull}


def test_a_daemon_that_fails_says_so_to_its_starter(place: Place) -> None:
    terminate(place.serve(*STARTED))
    Path(place.state, "keyring").unlink()
    assert "the keyring" in place.refused(*place.sockets, "--daemon")
    assert not place.data.exists()


def test_the_sandbox_is_closed_unless_switched_off(place: Place) -> None:
    for switch, mode in (([], "2"), (["--seccomp", "action=none"], "0")):
        process = place.serve(*STARTED, *switch)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"\nSeccomp:\t{mode}\n" in status
        assert terminate(process) == 0
