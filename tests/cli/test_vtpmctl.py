"""vtpmctl as people and programs use it: output, exit statuses, start time."""

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

from tests.api.scripted import document, scripted
from tests.supervisor.harness import Daemon, running
from vtpmd.api import names
from vtpmd.cli.vtpmctl import VERBS, main

WEB1 = "7d1f2b30-8f2e-4a55-9a7c-0123456789ab"
COMMAND = [sys.executable, "-m", "vtpmd.cli.vtpmctl"]


def ctl(*arguments: str, path: str = "/nonexistent/admin.sock") -> tuple[int, str, str]:
    result = subprocess.run(
        [*COMMAND, "--socket", path, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def test_help_lists_every_verb_and_exit_status() -> None:
    status, out, _ = ctl("--help")
    assert status == 0
    for word in (*VERBS, *map(str, names.EXIT_STATUSES), *names.EXIT_STATUSES.values()):
        assert re.search(rf"(^|\s){re.escape(word)}(\s|$)", out, re.MULTILINE), word


def _commands(command: click.Command, *verb: str) -> Iterator[list[str]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from _commands(found, *verb, name)
    else:
        yield [*verb]


COMMANDS = list(_commands(main))


@pytest.mark.parametrize("verb", COMMANDS, ids=" ".join)
def test_every_verb_has_help_and_json(verb: list[str]) -> None:
    result = CliRunner().invoke(main, [*verb, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.output


@pytest.mark.parametrize("arguments", [["--help"], ["list"]], ids=" ".join)
def test_it_loads_nothing_that_takes_time(arguments: list[str]) -> None:
    """What it loads decides how fast it starts; the machine that runs the test does not."""
    code = (
        "import sys; installation = set(sys.modules); import atexit;"
        "from vtpmd.cli.vtpmctl import main;"
        "atexit.register(lambda: print(*(set(sys.modules) - installation), file=sys.stderr));"
        "main(['--socket', '/nonexistent/admin.sock', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    ours = {name for name in loaded if name.startswith("vtpmd.")}
    assert ours, done.stderr
    assert {name.split(".")[1] for name in ours} == {"api", "cli", "client"}
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert foreign <= {"vtpmd", "click"}
    assert loaded & {"asyncio", "http", "email", "ssl", "logging", "subprocess"} == set()
    assert len(loaded) < 220


def test_without_a_daemon_it_says_so() -> None:
    status, out, err = ctl("list")
    assert (status, out) == (names.EXIT_UNREACHABLE, "")
    assert "/nonexistent/admin.sock: No such file" in err
    assert "Is the daemon running" in err
    status, out, _ = ctl("list", "--json")
    assert (status, json.loads(out)["code"]) == (names.EXIT_UNREACHABLE, "unreachable")
    assert ctl("version") == (0, "vtpmctl 0.1.0\nvtpmd does not answer\n", "")


@pytest.fixture(scope="module")
def empty_daemon() -> Iterator[Daemon]:
    """One for all tests that leave it without an instance."""
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory, running(Path(directory)) as it:
        yield it


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["create", "../x"], 2, "name: letters, digits"),
        (["create", "admin"], 2, "is taken"),
        (["create", "x" * 65], 2, "64 at most"),
        (["create", WEB1, "--uuid", WEB1.replace("7", "8")], 2, "UUID of another instance"),
        (["create", "a", "--uuid", "no"], 2, "'--uuid': 'no' is not a valid UUID"),
        (["create", "a", "--pcr-banks", "md5"], 2, "pcr_banks: the PCR banks are sha1,"),
        (["create", "a", "--pcr-banks", "sha256,sha256"], 2, "only once"),
        (["create", "a", "--pcr-banks", ""], 2, "pcr_banks.0: "),
        (["create", "a", "--profile", "x"], 2, "profile: "),
        (["create", "a", "--profile", "fips-v1 without MD5"], 2, "MD5: it has no such thing"),
        (["create", "a", "--profile", "fips-v1", "--pcr-banks", "sha1"], 2, "chosen from sha256"),
        (["create", "a", "--provider", "x"], 8, "there is no key provider x; configured: local"),
        (["info", "absent"], 5, "There is no instance 'absent'"),
        (["info", "ä/ö ?%00"], 5, "There is no instance"),
        (["info", ""], 2, "nothing at"),
        (["stop"], 2, "--all"),
        (["stop", "a", "--all"], 2, "--all"),
        (["set", "a"], 2, "--owner or --mode"),
        (["set", "absent", "--owner", "0"], 5, "There is no instance 'absent'"),
        (["create", "a", "--owner", "no-such-user"], 2, "owner: there is no user 'no-such-user'"),
        (["create", "a", "--mode", "888"], 2, "mode: an octal mode such as"),
        (["nonsense"], 2, "No such command"),
        (["pcr", "a", "24"], 2, "0<=x<=23"),
    ],
)
def test_errors_say_what_is_wrong(
    empty_daemon: Daemon, arguments: list[str], status: int, text: str
) -> None:
    result = empty_daemon.ctl(*arguments)
    assert (result.returncode, result.stdout) == (status, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert empty_daemon.request("GET", "/instances") == (200, {"instances": []})


def test_profiles_are_chosen_and_restricted(daemon: Daemon) -> None:
    for name, profile in (("a", "fips-v1"), ("b", "default-v1 without SHA1 RSA-4096 CC_CLEAR")):
        assert daemon.control("create", name, "--profile", profile)["state"] == "running"
        assert daemon.control("info", name)["profile"] == profile


def test_one_life_of_an_instance(daemon: Daemon) -> None:
    banks = ("--pcr-banks", "sha256,sha1")
    info = daemon.control("create", "web1", "--uuid", WEB1, *banks, "--no-data-socket")
    assert (info["uuid"], info["pcr_banks"]) == (WEB1, ["sha256", "sha1"])
    assert info["data_socket"] is None
    path = f"{daemon.runtime}/web1.sock.ctrl"

    assert daemon.control("info", WEB1)["name"] == "web1"
    shown = daemon.ctl("info", "web1").stdout
    assert re.search(r"^state: +running \(ready: QEMU can connect\)$", shown, re.MULTILINE)
    assert re.search(rf"^control socket: +{path}$", shown, re.MULTILINE)
    assert re.search(r"^sandbox: .*seccomp", shown, re.MULTILINE)

    table = daemon.ctl("list").stdout.splitlines()
    assert [line.split()[:3] for line in table] == [
        ["NAME", "UUID", "STATE"],
        ["web1", WEB1, "running"],
    ]

    line = daemon.ctl("qemu-args", "web1", "--model", "tis").stdout
    assert line == (
        f"-chardev socket,id=vtpm0,path={path} -tpmdev emulator,id=tpm0,chardev=vtpm0 "
        "-device tpm-tis,tpmdev=tpm0\n"
    )
    assert (
        " ".join(daemon.control("qemu-args", "web1", "--model", "tis")["arguments"]) + "\n" == line
    )

    tpm = ElementTree.fromstring(daemon.control("libvirt-xml", "web1")["xml"])
    source = tpm.find("backend[@type='external']/source")
    assert tpm.get("model") == "tpm-crb"
    assert source is not None
    assert source.attrib == {"type": "unix", "mode": "connect", "path": path}

    assert "is off" in daemon.ctl("pcr", "web1").stdout
    assert daemon.ctl("pcr", "web1", "--bank", "sha512").returncode == 0  # off: nothing to check
    assert daemon.ctl("stop", "--all").stdout.startswith("[1/1] web1 is stopped")
    assert daemon.ctl("stop", "web1").returncode == 0
    deleted = daemon.ctl("delete", WEB1, "--yes").stdout
    assert deleted.startswith("web1 is deleted: its files are removed.\nNot destroyed: key kek ")


def test_capabilities_name_what_can_be_chosen(daemon: Daemon) -> None:
    content = daemon.control("capabilities")
    assert content["create"] == "available"
    assert content["profiles"] == ["default-v1", "sha3-v1", "fips-v1", "pqc-v1"]
    assert content["pcr_banks"] == ["sha1", "sha256", "sha384", "sha512"]
    (provider,) = content["key_providers"]
    assert (provider["name"], provider["available"], provider["default"]) == ("local", True, True)
    assert "available (type local, default)" in daemon.ctl("capabilities").stdout
    assert daemon.control("version") == {"vtpmctl": "0.1.0", "vtpmd": "0.1.0"}


def test_on_a_terminal_the_list_is_a_table(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    primary, secondary = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm"}
    arguments = ["--socket", str(daemon.runtime / "admin.sock"), "list"]
    with subprocess.Popen([*COMMAND, *arguments], stdout=secondary, env=environment) as process:
        assert process.wait(60) == 0
    os.close(secondary)
    assert "─" in os.read(primary, 65536).decode()
    os.close(primary)


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
@pytest.mark.parametrize("model", ["crb", "tis"])
def test_qemu_takes_the_arguments_and_finds_the_tpm(daemon: Daemon, model: str) -> None:
    daemon.control("create", "web1")
    arguments = daemon.ctl("qemu-args", "web1", "--model", model).stdout.split()
    machine = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-nodefaults"]
    machine += ["-display", "none", "-S"]
    for _ in range(2):  # the instance outlives QEMU and welcomes the next one
        with subprocess.Popen(
            [*machine, "-monitor", "stdio", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as qemu:
            output, _ = qemu.communicate("info tpm\nquit\n", timeout=60)
        assert qemu.returncode == 0, output
        assert f"model=tpm-{model}" in output
        assert "type=emulator" in output
    daemon.until("web1", lambda info: info["worker"]["clients"] == 0)
    assert daemon.control("info", "web1")["state"] == "running"


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_qemu_ends_at_once_when_the_instance_is_locked(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    daemon.control("stop", "web1")
    (daemon.state / "keyring").rename(daemon.directory / "elsewhere")
    assert daemon.ctl("start", "web1").returncode == 8
    arguments = daemon.ctl("qemu-args", "web1").stdout.split()
    machine = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-nodefaults"]
    begin = time.perf_counter()
    qemu = subprocess.run(
        [*machine, "-display", "none", "-S", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert time.perf_counter() - begin < 5  # a tenth of a second where nothing else runs
    assert qemu.returncode == 1
    assert "tpm-emulator" in qemu.stderr
    log = daemon.log()
    assert re.search(r"keyring.*client-turned-away", log), log
    (daemon.directory / "elsewhere").rename(daemon.state / "keyring")
    assert daemon.ctl("unlock", "web1").stdout.startswith("web1 is running")


def test_unlock_wants_to_know_what(daemon: Daemon) -> None:
    assert daemon.ctl("unlock").returncode == 2
    assert daemon.ctl("unlock", "a", "--all").returncode == 2
    assert daemon.ctl("unlock", "a").returncode == 5
    assert daemon.control("unlock", "--all") == {"unlocked": [], "failed": []}


def test_a_full_output_is_told(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    for arguments in (["list"], ["backup", "web1", "-"]):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [*COMMAND, "--socket", daemon.runtime / "admin.sock", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert result.returncode == names.EXIT_FILE
        assert result.stderr == "vtpmctl: standard output: No space left on device\n"


@pytest.mark.parametrize("verb", [["list"], ["rekey", "web1"], ["provider", "list"]])
def test_ctrl_c_is_told_from_a_failure(tmp_path: Path, verb: list[str]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with subprocess.Popen(
            [*COMMAND, "--socket", tmp_path / "s", *verb],
            stderr=subprocess.PIPE,
            text=True,
            # Who started the tests in the background made them, and their children, ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(4096)
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == names.EXIT_INTERRUPTED
            assert process.stderr is not None
            assert process.stderr.read().startswith("vtpmctl: interrupted")


def test_stop_all_tells_what_it_could_not_stop(tmp_path: Path) -> None:
    """One of three does not end: the others are stopped and told of, and so is it, by its name."""
    infos = [
        {"name": name, "uuid": str(UUID(int=ord(name))), "state": "running", "reason": "because"}
        for name in "abc"
    ]
    problem = {"code": "internal", "detail": "the worker did not answer"}
    answers = [
        document(200, {"instances": infos}),
        document(200, infos[0] | {"state": "stopped"}),
        document(500, problem),
        document(200, infos[2] | {"state": "stopped"}),
    ]
    with scripted(tmp_path / "s", answers) as asked:
        result = CliRunner().invoke(main, ["--socket", str(tmp_path / "s"), "stop", "--all"])
    assert [each.target for each in asked[1:]] == [
        f"/v1/instances/{info['uuid']}/stop" for info in infos
    ]
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "[1/3] a is stopped: because",
        "[3/3] c is stopped: because",
    ]
    assert result.stderr == "[2/3] b: the worker did not answer\n"


def hear_interrupts() -> None:
    """Let the terminal at standard input send ^C, also where the tests run in the background."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("typed", "status", "gone"), [("y\n", 0, True), ("n\n", 11, False), ("\x03", 130, False)]
)
def test_on_a_terminal_delete_asks(daemon: Daemon, typed: str, status: int, gone: bool) -> None:
    daemon.control("create", "web1", "--no-start")
    primary, secondary = pty.openpty()
    arguments = ["--socket", str(daemon.runtime / "admin.sock"), "delete", "web1"]
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    ) as process:
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(primary, 4096)
        answer = typed.encode()
        while process.poll() is None:  # what is typed before it reads the terminal is lost
            os.write(primary, answer)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        assert process.returncode == status
    os.close(secondary)
    os.close(primary)
    assert b"destroys its keys" in shown
    assert (daemon.control("list")["instances"] == []) is gone


def test_without_a_terminal_delete_asks_nobody(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    result = daemon.ctl("delete", "web1")
    assert (result.returncode, result.stdout) == (11, "")
    assert "Add --yes if that is what you want" in result.stderr
    assert len(daemon.control("list")["instances"]) == 1
