"""The sandbox from inside: what a worker can't do any more, and what it still can."""

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from vtpmd.ipc.messages import SandboxMode
from vtpmd.linux import kernel
from vtpmd.storage.store import Store
from vtpmd.worker import seccomp
from vtpmd.worker.errors import SandboxError
from vtpmd.worker.sandbox import Sandbox
from vtpmd.worker.side import SideThread

Act = Callable[[], object]
_libc = ctypes.CDLL(None, use_errno=True)
_NOBODY = 65534


def _syscall(number: int, *arguments: int) -> None:
    if _libc.syscall(number, *(ctypes.c_long(argument) for argument in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child; its complaint, if any, becomes ours."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        complaint = b"ok"
        try:
            work()
        except BaseException as error:
            complaint = f"{type(error).__name__}: {error}".encode()
        os.write(writer, complaint)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        complaint = pipe.read()
    os.waitpid(pid, 0)
    assert complaint == b"ok", complaint.decode()


def _confined(directory: int, mode: SandboxMode = "require") -> tuple[Sandbox, SideThread[object]]:
    sandbox = Sandbox(mode)
    side: SideThread[object] = SideThread()
    sandbox.confine(directory)
    side.start()
    sandbox.seal()
    return sandbox, side


def _execute() -> None:
    os.execv("/bin/true", ["true"])


def _executable_memory() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def _start_thread() -> None:
    threading.Thread(target=int).start()


FORBIDDEN: dict[str, Act] = {
    "open /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "open /proc/self/mem": lambda: os.open("/proc/self/mem", os.O_RDWR),
    "list /": lambda: os.listdir("/"),
    "create in /tmp": lambda: os.open("/tmp/vtpmd-sandbox", os.O_CREAT | os.O_WRONLY),
    "IPv4 socket": lambda: socket.socket(socket.AF_INET),
    "IPv6 socket": lambda: socket.socket(socket.AF_INET6),
    "Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "execve": _execute,
    "fork": os.fork,
    "thread": _start_thread,
    "ptrace": lambda: _syscall(101, 16, os.getppid(), 0, 0),
    "kill parent": lambda: os.kill(os.getppid(), 0),
    "process_vm_readv": lambda: _syscall(310, os.getppid(), 0, 0, 0, 0, 0),
    "pidfd_open": lambda: os.pidfd_open(os.getppid()),
    "executable memory": _executable_memory,
    "setuid": lambda: os.setuid(0),
    "chmod": lambda: os.chmod("/tmp", 0o777),
    "memfd": lambda: os.memfd_create("x"),
    "bpf": lambda: _syscall(321, 0, 0, 0),
    "io_uring": lambda: _syscall(425, 1, 0),
    "unshare": lambda: _syscall(272, 0x10000000),
    "raise limits": lambda: __import__("resource").setrlimit(7, (4096, 4096)),
}


def _assert_refused(name: str, act: Act) -> None:
    try:
        act()
    except (OSError, RuntimeError, ValueError):
        return
    raise AssertionError(f"{name} was allowed")


def _directory(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
@pytest.mark.parametrize("user", [os.getuid(), _NOBODY], ids=["own-user", "unprivileged"])
def test_nothing_but_its_work_is_possible(tmp_path: Path, user: int) -> None:
    if user != os.getuid() and os.getuid():
        pytest.skip("changing the user takes root")
    directory = _directory(tmp_path)

    def work() -> None:
        if user != os.getuid():
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        _, side = _confined(directory)
        for name, act in FORBIDDEN.items():
            _assert_refused(name, act)

        def act_on_side() -> None:
            for name in ("open /etc/passwd", "IPv4 socket", "execve", "fork", "kill parent"):
                _assert_refused(f"{name} on the side thread", FORBIDDEN[name])

        side.submit(act_on_side)
        side.outcome()

    _in_child(work)


_CALL_OF_X86 = bytes.fromhex("b814000000cd80c3")
"""mov eax, 20; int 0x80; ret: getpid by the numbers of 32-bit x86."""


def _foreign_call() -> Callable[[], int]:
    """To be made before the sandbox forbids memory that is executable."""
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(_CALL_OF_X86)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call = ctypes.CFUNCTYPE(ctypes.c_int)(address)

    def made() -> int:
        assert memory
        return int(call())

    return made


def _status_of_child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _has_foreign_calls() -> bool:
    call = _foreign_call()
    return _status_of_child(lambda: os._exit(0 if call() > 0 else 1)) == 0


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="machine code of x86_64")
@pytest.mark.parametrize("aside", [False, True], ids=["main thread", "side thread"])
def test_a_system_call_of_another_architecture_ends_the_process(
    tmp_path: Path, aside: bool
) -> None:
    """All of it: one thread alone would leave a worker that serves nobody."""
    if not _has_foreign_calls():
        pytest.skip("this kernel runs no calls of 32-bit x86")
    directory = _directory(tmp_path)

    def work() -> None:
        signal.alarm(30)  # for a process of which one thread is gone
        call = _foreign_call()
        _, side = _confined(directory)
        if aside:
            side.submit(call)
            side.outcome()
        else:
            call()

    assert _status_of_child(work) == -signal.SIGSYS


def test_the_work_itself_goes_on(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))

            def work() -> None:
                _, side = _confined(directory)
                with Store(directory) as store:
                    assert store.reserve(10_000)
                    store.create("nvram", b"one")
                    store.write("nvram", b"two")
                    assert store.read("nvram") == b"two"
                    store.write("volatile", b"three")
                    store.remove("volatile")
                side.submit(lambda: rsa.generate_private_key(65537, 2048).key_size)
                assert side.outcome() == 2048
                accepted, _ = listener.accept()
                accepted.sendall(os.urandom(16))

            _in_child(work)
            assert len(client.recv(16)) == 16
    assert (tmp_path / "nvram").read_bytes() == b"two"


def test_other_directories_of_the_same_owner_are_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nvram").write_bytes(b"secret")
    mine = _directory(tmp_path / "mine")
    beyond = ("../other/nvram", str(tmp_path / "other" / "nvram"))

    def work() -> None:
        _confined(mine)
        for path in beyond:
            for flags in (os.O_RDONLY, os.O_WRONLY, os.O_CREAT | os.O_WRONLY):
                _assert_refused(path, lambda p=path, f=flags: os.open(p, f, dir_fd=mine))  # type: ignore[misc]
            _assert_refused("unlink", lambda p=path: os.unlink(p, dir_fd=mine))  # type: ignore[misc]

    _in_child(work)


def test_what_is_active_is_told(tmp_path: Path) -> None:
    directory = _directory(tmp_path)
    abi = kernel.landlock_abi()

    def work() -> None:
        active = _confined(directory)[0].active
        assert active["mode"] == "require"
        assert active["landlock"] == f"ABI {abi}"
        assert active["seccomp"].endswith("rules")
        for part in ("limits", "not-dumpable", "no-new-privileges"):
            assert active[part] == "on"
        status = Path(f"/proc/{os.getppid()}/status")
        _assert_refused("reading /proc", status.read_text)

    _in_child(work)


def test_off_still_keeps_secrets_out_of_core_files(tmp_path: Path) -> None:
    directory = _directory(tmp_path)

    def work() -> None:
        active = _confined(directory, "off")[0].active
        assert set(active) == {"mode", "limits", "not-dumpable"}
        assert __import__("resource").getrlimit(4) == (0, 0)
        assert _libc.prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
        os.close(os.open("/etc/passwd", os.O_RDONLY))

    _in_child(work)


@pytest.mark.parametrize("mode", ["require", "best-effort"])
def test_a_missing_part_is_refused_or_told(
    tmp_path: Path, mode: SandboxMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = _directory(tmp_path)
    monkeypatch.setattr(kernel, "landlock_abi", lambda: 0)
    monkeypatch.setattr(seccomp, "_library", None)

    def work() -> None:
        sandbox = Sandbox(mode)
        if mode == "require":
            with pytest.raises(SandboxError, match=r"landlock.*best-effort"):
                sandbox.confine(directory)
        else:
            sandbox.confine(directory)
        if mode == "require":
            with pytest.raises(SandboxError, match=r"libseccomp\.so\.2 is not installed"):
                sandbox.seal()
        else:
            sandbox.seal()
            assert sandbox.active["landlock"] == "unavailable: the kernel has no Landlock"
            assert sandbox.active["seccomp"].startswith("unavailable: libseccomp")

    _in_child(work)


def test_tracebacks_work_after_the_sandbox(tmp_path: Path) -> None:
    """Nothing a dying worker needs is imported too late."""
    script = (
        "import os, sys, traceback\n"
        "import vtpmd.worker.process\n"
        "from vtpmd.worker.sandbox import Sandbox\n"
        "before = set(sys.modules)\n"
        "sandbox = Sandbox('require')\n"
        f"sandbox.confine(os.open({str(tmp_path)!r}, os.O_RDONLY))\n"
        "sandbox.seal()\n"
        "try:\n"
        "    os.open('/etc/passwd', os.O_RDONLY)\n"
        "except OSError:\n"
        "    traceback.print_exc()\n"
        "assert set(sys.modules) == before, set(sys.modules) - before\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "PermissionError" in result.stderr
