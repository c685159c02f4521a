"""What a person is told about mistakes: the message, the exit status, and what to do about it."""

import os
import shutil
import socket
import struct
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.kms.certificates import Authority
from tests.kms.vault.bao import Bao
from tests.supervisor.harness import Daemon, running, until
from vtpmd.api import names
from vtpmd.cli.vtpmd import main as vtpmd
from vtpmd.config.loader import load
from vtpmd.doctor import places
from vtpmd.doctor.finding import examine
from vtpmd.linux import acl

KMIP = (
    "key_providers: [{type: kmip, name: k, host: h, ca: DIR/ca, certificate: DIR/ca, key: DIR/k}]"
)
# What is wrong -> the file (DIR stands for a directory), and what is told of it, remedies included.
CONFIGURATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "wrong key": ("staet_dir: /x", (":1: ", "unknown setting staet_dir; did you mean state_dir?")),
    "two faults at once": (
        "log: {levle: info}\ndefaults: {profile: foo}",
        ("unknown setting levle; did you mean level?", "the profiles are default-v1"),
    ),
    "wrong group": ("sockets: {group: no-such}", ("there is no group 'no-such'",)),
    "wrong user": ("sockets: {owner: no-such}", ("there is no user 'no-such'",)),
    "unknown bank": ("defaults: {pcr_banks: [md5]}", ("the PCR banks are sha1, sha256",)),
    "unknown type": (
        "key_providers: [{type: acme, name: a}]",
        ("there is no type 'acme'; known are aws-kms, kmip, local",),
    ),
    "unknown default": ("default_provider: hsm", ("no key provider is named hsm",)),
    "path too long": (
        f"runtime_dir: /{'r' * 100}",
        ("the path is too long for a Unix socket in it",),
    ),
    "relative path": ("anchor_dir: anchors", ("anchor_dir: the path must be absolute",)),
    "no octal mode": ("sockets: {mode: rw}", ('an octal mode such as "0660" is expected',)),
    "a word for another": ("sandbox: yes", ("sandbox: must be 'require', 'best-effort' or 'off'",)),
    "absent credential": (KMIP, ("key_providers.0.key: DIR/k: No such file or directory",)),
    "unreadable credential": (
        KMIP.replace("DIR/k", "DIR"),
        ("key_providers.0.key: DIR: Is a directory",),
    ),
    "no YAML": ("sockets: {", ("not YAML: ",)),
    "given twice": ("log: {}\nlog: {}", (":2: log appears twice",)),
}


@pytest.mark.parametrize("mistake", CONFIGURATIONS)
def test_of_a_configuration(short_path: Path, mistake: str) -> None:
    text, told = CONFIGURATIONS[mistake]
    (short_path / "ca").write_text("x")
    file = short_path / "vtpmd.yaml"
    state = "" if "state_dir" in text or "staet" in text else f"\nstate_dir: {short_path}/state"
    end = "" if mistake == "no YAML" else state
    file.write_text(text.replace("DIR", str(short_path)) + end)
    result = CliRunner().invoke(vtpmd, ["check-config", str(file)])
    assert result.exit_code == names.DAEMON_EXIT_CONFIGURATION
    for words in told:
        assert words.replace("DIR", str(short_path)) in result.stderr
    assert len(result.stderr.splitlines()) == (2 if mistake == "two faults at once" else 1)


def test_of_no_configuration(tmp_path: Path) -> None:
    result = CliRunner().invoke(vtpmd, ["check-config", str(tmp_path / "absent.yaml")])
    assert result.exit_code == names.DAEMON_EXIT_CONFIGURATION
    assert result.stderr == f"vtpmd: {tmp_path}/absent.yaml: No such file or directory\n"


Usage = namedtuple("Usage", "total used free")


def refuse(*_: object) -> None:
    raise OSError(95, "Operation not supported")


@contextmanager
def host(fault: str, directory: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host with this fault; the configuration that is looked at."""
    (directory / "run").mkdir(mode=0o755)
    more, umask = "", os.umask(0o002) if fault == "umask 002" else None
    match fault:
        case "no Landlock":
            reason = "sandbox part landlock can't be had: the kernel has no Landlock"
            patch.setattr(places, "try_sandbox", lambda mode: ({}, reason))
        case "full disk":
            patch.setattr(shutil, "disk_usage", lambda path: Usage(9, 9, 0))
        case "umask 077":  # as a daemon of an older version has made it
            (directory / "run").chmod(0o700)
        case "no member of the group":
            more = "sockets: {group: daemon}"
            patch.setattr(os, "geteuid", lambda: 65534)
            patch.setattr(os, "getegid", lambda: 65534)
            patch.setattr(os, "getgroups", list)
            patch.setattr(acl, "share", refuse)
        case "open to others":
            (directory / "state").mkdir()
            (directory / "state").chmod(0o777)
        case "anchors beside the state":
            more = f"anchor_dir: {directory}/anchors"
    try:
        yield more
    finally:
        if umask is not None:
            os.umask(umask)


HOSTS: dict[str, tuple[str, str, str, str]] = {
    "no Landlock": ("sandbox", "bad", "the kernel has no Landlock", "vtpmctl doctor"),
    "full disk": ("disk space", "bad", "no TPM can be made", "make room"),
    "umask 077": ("runtime directory", "warning", "no QEMU of another user", "chmod 0755 DIR/run"),
    "umask 002": ("umask", "warning", "other users could write", "UMask=0077"),
    "no member of the group": (
        *("who may attach", "bad", "nobody may not give sockets to group daemon"),
        "usermod -aG daemon nobody",
    ),
    "open to others": (
        "state directory",
        "bad",
        "take 0022 away with chmod",
        "put DIR/state right",
    ),
    "anchors beside the state": ("rollback", "warning", "turned back with it", "on another disk"),
}


@pytest.mark.parametrize("fault", HOSTS)
def test_of_a_host(short_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    check, verdict, reason, remedy = HOSTS[fault]
    with host(fault, short_path, monkeypatch) as more:
        file = short_path / "vtpmd.yaml"
        file.write_text(f"state_dir: {short_path}/state\nruntime_dir: {short_path}/run\n{more}\n")
        findings = examine(places.CHECKS, load(file))
    *_, found = [each for each in findings if each.check == check]
    assert (found.verdict, reason in found.reason) == (verdict, True), found
    assert remedy.replace("DIR", str(short_path)) in found.remedy


@pytest.fixture(scope="module")
def busy() -> Iterator[Daemon]:
    """A daemon with a TPM that a machine uses, one that runs, one that is stopped, and KEKs that
    are away or were not saved."""
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as name, ExitStack() as finally_:
        root = Path(name)
        authority = Authority(root)
        pair = authority.client("host")
        server = Bao(root, authority)
        finally_.callback(server.stop)
        (token := root / "token").touch(0o600)
        token.write_text("s.another")
        providers = (
            "{type: local, name: local}",
            f"{{type: local, name: strict, keyring: {root}/strict, require_backup: true}}",
            f"{{type: kmip, name: away, host: 127.0.0.1, port: 1, ca: {authority.certificate}, "
            f"certificate: {pair.certificate}, key: {pair.key}, timeout: 1}}",
            f"{{type: vault, name: bao, url: {server.url}, ca: {authority.certificate}, "
            f"auth: {{method: token, token_file: {token}}}}}",
        )
        more = f"key_providers: [{', '.join(providers)}]\ndefault_provider: local\n"
        with running(root, more) as daemon:
            info = daemon.control("create", "used")
            daemon.control("create", "served")
            daemon.control("create", "resting", "--no-start")
            (root / "file").write_text("x")
            data, theirs = socket.socketpair()
            with data, socket.socket(socket.AF_UNIX) as control:
                control.connect(info["control_socket"])
                with theirs:
                    socket.send_fds(control, [struct.pack(">I", 0x10)], [theirs.fileno()])
                assert control.recv(4) == bytes(4)
                yield daemon


# The command line -> its exit status, and what is told on standard error.
COMMANDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "create served": (6, ("There is an instance served already", "Nothing was changed")),
    "create a --provider strict": (
        8,
        (
            "has not been saved yet",
            "`vtpmctl provider backup strict FILE`",
            "Nothing was made",
        ),
    ),
    "create a --provider away": (8, ("cannot be reached: Connection refused", "provider list")),
    "create a --provider bao": (8, ("refuses the token in ROOT/token", "Nothing was made")),
    "create a --provider none": (
        8,
        ("there is no key provider none; configured: local, strict",),
    ),
    "create a --owner nobody-here": (2, ("owner: there is no user 'nobody-here'",)),
    f"create {'x' * 65}": (2, ("64 at most",)),
    "create a --profile foo": (2, ("profile: the profiles are default-v1",)),
    "stop used": (7, ("it is in use by QEMU (pid ", "get errors from its TPM", "add --force")),
    "delete resting": (11, ("destroys its keys", "Add --yes")),
    "delete served --yes": (7, ("cannot be deleted while it is running", "`vtpmctl stop` it")),
    "rename resting served": (6, ("There is an instance served already",)),
    "rename served other": (7, ("cannot be given other sockets while it is running", "stop")),
    "set served --data-socket": (7, ("cannot be given other sockets", "`vtpmctl stop` it first")),
    "set served --label tier": (2, ("a label is NAME=VALUE",)),
    "pcr resting": (7, ("while it is stopped", "`vtpmctl start` it first")),
    "info web2": (5, ("There is no instance 'web2'", "`vtpmctl list` shows every instance")),
    "backup resting ROOT/file": (13, ("it exists, and is not overwritten",)),
    "provider backup local ROOT/keys": (2, ("There is no terminal", "give --passphrase-fd")),
    "start": (2, ("Give names of instances, or --all",)),
}


@pytest.mark.parametrize("words", COMMANDS)
def test_of_a_command_line(busy: Daemon, words: str) -> None:
    status, told = COMMANDS[words]
    before = busy.control("list")
    arguments = words.replace("ROOT", str(busy.directory)).split()
    result = busy.ctl(*arguments)
    assert (result.returncode, result.stdout) == (status, ""), result
    for text in told:
        assert text.replace("ROOT", str(busy.directory)) in result.stderr
    assert "Traceback" not in result.stderr
    assert busy.control("list") == before


def test_of_two_machines_with_one_socket(busy: Daemon) -> None:
    """The second QEMU is refused at once, and the log says who has the TPM."""
    info = busy.control("info", "used")
    data, theirs = socket.socketpair()
    with data, theirs, socket.socket(socket.AF_UNIX) as control:
        control.connect(info["control_socket"])
        socket.send_fds(control, [struct.pack(">I", 0x10)], [theirs.fileno()])
        assert control.recv(4) != bytes(4)
    told = f"process {os.getpid()} of user {os.getuid()} has it"
    assert until(lambda: told in busy.log())


def test_of_no_daemon(busy: Daemon) -> None:
    result = busy.ctl("--socket", "/nonexistent/admin.sock", "list")
    assert (result.returncode, result.stdout) == (names.EXIT_UNREACHABLE, "")
    assert "systemctl status vtpmd" in result.stderr


def test_there_are_as_many_as_were_promised() -> None:
    assert len(CONFIGURATIONS) + len(HOSTS) + len(COMMANDS) >= 30
