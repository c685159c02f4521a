"""The system calls a worker may make.

No new process or thread, no new socket, no exec, no signal to anybody, no memory that is
executable, no file but those that are open.

The zygote compiles the program, so that a worker has one system call left to make.
"""

import fcntl
import functools

from vtpmd.linux.seccomp import EQUAL, FIONBIO, NO_CODE, Program, Rule, compiled
from vtpmd.linux.seccomp import load as load_program

_PLAIN = """
    accept4 brk clock_getres clock_gettime clock_nanosleep close close_range dup epoll_create1
    epoll_ctl epoll_pwait epoll_pwait2 epoll_wait exit exit_group fallocate fdatasync fstat fstatfs
    futex getegid geteuid getgid getpeername getpid getrandom getsockname getsockopt gettid
    gettimeofday getuid lseek madvise membarrier mremap munmap nanosleep newfstatat pipe2 poll ppoll
    pread64 pwrite64 pwritev2 read readv recvfrom recvmsg restart_syscall rseq rt_sigaction
    rt_sigprocmask rt_sigreturn sched_yield sendmsg sendto set_robust_list shutdown sigaltstack time
    write writev
"""
_REMOVING = "unlinkat"
_FCNTL = [
    fcntl.F_GETFD,
    fcntl.F_SETFD,
    fcntl.F_GETFL,
    fcntl.F_GETLK,
    fcntl.F_SETFL,
    fcntl.F_DUPFD_CLOEXEC,
]
_CONDITIONAL = [
    *NO_CODE,
    *(Rule("fcntl", 1, EQUAL, command) for command in _FCNTL),
    Rule("ioctl", 1, EQUAL, FIONBIO),
]


def load(*, removing: bool = False) -> int:
    """Close the filter over every thread of this process; the number of rules. Raises OSError.

    `removing`: files may be removed, where Landlock lets them.
    """
    return load_program(prepare(removing=removing))


@functools.cache
def prepare(*, removing: bool) -> Program:
    """The program that `load` loads, compiled once in a process and those it forks.

    Raises OSError.
    """
    return compiled([*_PLAIN.split(), *([_REMOVING] if removing else [])], _CONDITIONAL)
