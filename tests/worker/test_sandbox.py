"""The sandbox from inside: what a worker can't do any more, and what it still can."""

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.worker.harness import files, opened
from vtpmd.ipc.messages import SandboxMode
from vtpmd.linux import kernel
from vtpmd.linux import seccomp as compiler
from vtpmd.linux.descriptors import close_fds
from vtpmd.storage.state_file import FILE_SIZE
from vtpmd.worker import sandbox, seccomp
from vtpmd.worker.errors import SandboxError
from vtpmd.worker.sandbox import Sandbox
from vtpmd.worker.side import SideThread

Act = Callable[[], object]
_libc = ctypes.CDLL(None, use_errno=True)
_NOBODY = 65534


@pytest.fixture(autouse=True)
def room_for_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child of a test is as large as the process of all tests, not as a worker.

    tests/attacks tries the limits of memory on real workers.
    """
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        monkeypatch.delitem(sandbox._LIMITS, limit)


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


def _confined(mode: SandboxMode = "require") -> tuple[Sandbox, SideThread[object]]:
    sandbox = Sandbox(mode)
    side: SideThread[object] = SideThread()
    sandbox.confine()
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


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86_64")
@pytest.mark.parametrize("user", [os.getuid(), _NOBODY], ids=["own-user", "unprivileged"])
def test_nothing_but_its_work_is_possible(tmp_path: Path, user: int) -> None:
    if user != os.getuid() and os.getuid():
        pytest.skip("changing the user takes root")

    def work() -> None:
        if user != os.getuid():
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        _, side = _confined()
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

    def work() -> None:
        signal.alarm(30)  # for a process of which one thread is gone
        call = _foreign_call()
        _, side = _confined()
        if aside:
            side.submit(call)
            side.outcome()
        else:
            call()

    assert _status_of_child(work) == -signal.SIGSYS


def test_the_work_itself_goes_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, opened(tmp_path) as state:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))

            def work() -> None:
                _, side = _confined()
                state.create(b"one")
                assert state.reserve()
                state.save(b"two" * 20_000)
                state.save_volatile(b"three")
                assert state.load() == b"two" * 20_000
                assert state.load_volatile() == b"three"
                state.clear_volatile()
                assert state.findings == []
                side.submit(lambda: rsa.generate_private_key(65537, 2048).key_size)
                assert side.outcome() == 2048
                accepted, _ = listener.accept()
                accepted.sendall(os.urandom(16))

            _in_child(work)
            assert len(client.recv(16)) == 16
        assert state.load() == b"two" * 20_000


def test_a_worker_has_its_files_and_no_more_space(tmp_path: Path) -> None:
    with opened(tmp_path / "mine"), files(tmp_path / "mine") as fds:

        def work() -> None:
            _confined()
            for fd in fds:
                os.pwrite(fd, b"x", FILE_SIZE - 1)
                acts: dict[str, Act] = {
                    "growth": lambda fd=fd: os.pwrite(fd, b"x", FILE_SIZE),  # type: ignore[misc]
                    "fallocate": lambda fd=fd: os.posix_fallocate(fd, FILE_SIZE, 1),  # type: ignore[misc]
                    "truncate": lambda fd=fd: os.ftruncate(fd, 0),  # type: ignore[misc]
                    "chmod": lambda fd=fd: os.fchmod(fd, 0o666),  # type: ignore[misc]
                    "lock": lambda fd=fd: fcntl.flock(fd, fcntl.LOCK_UN),  # type: ignore[misc]
                }
                for name, act in acts.items():
                    _assert_refused(name, act)

        _in_child(work)


@pytest.mark.parametrize("sealed", [False, True], ids=["Landlock alone", "and seccomp"])
def test_no_file_can_be_made_opened_renamed_or_removed(
    tmp_path: Path, sealed: bool, request: pytest.FixtureRequest
) -> None:
    """Not even beneath a directory that is open, nor by the path of a file that is."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for path in (mine, other):
        path.mkdir()
        (path / "nvram").write_bytes(b"secret")
    directory = os.open(mine, os.O_RDONLY | os.O_DIRECTORY)
    own = os.open(mine / "nvram", os.O_RDWR)
    request.addfinalizer(partial(close_fds, [directory, own]))
    acts: dict[str, Act] = {
        "rename": lambda: os.rename("nvram", "x", src_dir_fd=directory, dst_dir_fd=directory),
        "symlink": lambda: os.symlink("nvram", "x", dir_fd=directory),
        "mkdir": lambda: os.mkdir("x", dir_fd=directory),
        "list": lambda: os.listdir(mine),
        "by descriptor": lambda: os.open(f"/proc/self/fd/{own}", os.O_RDWR),
    }
    for path in ("nvram", "../other/nvram", str(other / "nvram")):  # type: ignore[assignment]
        acts[f"unlink {path}"] = lambda p=path: os.unlink(p, dir_fd=directory)  # type: ignore[misc]
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_CREAT | os.O_WRONLY):
            acts[f"open {path} {flags}"] = lambda p=path, f=flags: os.open(p, f, dir_fd=directory)  # type: ignore[misc]
    if sealed:
        acts["link"] = lambda: os.link("nvram", "x", src_dir_fd=directory, dst_dir_fd=directory)

    def work() -> None:
        sandbox = Sandbox("require")
        sandbox.confine()
        if sealed:
            sandbox.seal()
        for name, act in acts.items():
            _assert_refused(name, act)
        os.pwrite(own, b"S", 0)

    _in_child(work)
    assert [(path / "nvram").read_bytes() for path in (mine, other)] == [b"Secret", b"secret"]


@pytest.mark.parametrize("removing", [False, True])
def test_a_process_with_sockets_of_its_own_may_remove_those(
    tmp_path: Path, removing: bool, request: pytest.FixtureRequest
) -> None:
    directory = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    request.addfinalizer(partial(os.close, directory))
    (tmp_path / "socket").touch()

    def work() -> None:
        sandbox = Sandbox("require", removable=[directory] if removing else [])
        sandbox.confine()
        sandbox.seal()
        os.unlink("socket", dir_fd=directory)

    if removing:
        _in_child(work)
    else:
        with pytest.raises(AssertionError, match="PermissionError"):
            _in_child(work)
    assert (tmp_path / "socket").exists() is not removing


def test_what_is_active_is_told(tmp_path: Path) -> None:
    abi = kernel.landlock_abi()

    def work() -> None:
        active = _confined()[0].active
        assert active["mode"] == "require"
        assert active["landlock"] == f"ABI {abi}"
        assert active["seccomp"].endswith("rules")
        for part in ("limits", "not-dumpable", "no-new-privileges"):
            assert active[part] == "on"
        status = Path(f"/proc/{os.getppid()}/status")
        _assert_refused("reading /proc", status.read_text)

    _in_child(work)


def test_off_still_keeps_secrets_out_of_core_files(tmp_path: Path) -> None:

    def work() -> None:
        active = _confined("off")[0].active
        assert set(active) == {"mode", "limits", "not-dumpable"}
        assert __import__("resource").getrlimit(4) == (0, 0)
        assert _libc.prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
        os.close(os.open("/etc/passwd", os.O_RDONLY))

    _in_child(work)


def test_what_the_zygote_has_compiled_is_loaded_without_the_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = seccomp.prepare(removing=False).rules
    monkeypatch.setattr(compiler, "_library", None)

    def work() -> None:
        sandbox = Sandbox("require")
        sandbox.confine()
        sandbox.seal()
        assert sandbox.active["seccomp"] == f"{rules} rules"
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_UNIX)

    _in_child(work)


@pytest.mark.parametrize("mode", ["require", "best-effort"])
def test_a_missing_part_is_refused_or_told(
    tmp_path: Path, mode: SandboxMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "landlock_abi", lambda: 0)
    monkeypatch.setattr(compiler, "_library", None)
    seccomp.prepare.cache_clear()

    def work() -> None:
        sandbox = Sandbox(mode)
        if mode == "require":
            with pytest.raises(SandboxError, match=r"landlock.*best-effort"):
                sandbox.confine()
        else:
            sandbox.confine()
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
        "sandbox.confine()\n"
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
