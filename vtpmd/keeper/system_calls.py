"""The system calls the keeper may make once it has started its zygote.

It waits for descriptors and passes them on. Of the sockets that it keeps it could receive as well
as of its own channels: a filter can't tell them apart.
"""

import fcntl
import socket

from vtpmd.linux.seccomp import EQUAL, FIONBIO, NO_CODE, Rule, compiled, load

_PLAIN = """
    accept4 brk clock_getres clock_gettime close close_range dup epoll_create1 epoll_ctl
    epoll_pwait epoll_pwait2 epoll_wait exit exit_group fstat ftruncate futex getegid geteuid
    getgid getpeername getpid getrandom getsockname getsockopt gettid gettimeofday getuid madvise
    mlock mremap munlock munmap newfstatat pidfd_send_signal poll ppoll recvfrom recvmsg
    restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_yield sendmsg sendto
    set_robust_list shutdown sigaltstack time wait4 waitid write
"""
_FCNTL = [
    fcntl.F_GETFD,
    fcntl.F_SETFD,
    fcntl.F_GETFL,
    fcntl.F_SETFL,
    fcntl.F_GETLK,
    fcntl.F_DUPFD_CLOEXEC,
]
_CONDITIONAL = [
    *NO_CODE,
    *(Rule("fcntl", 1, EQUAL, command) for command in _FCNTL),
    Rule("ioctl", 1, EQUAL, FIONBIO),
    Rule("socketpair", 0, EQUAL, socket.AF_UNIX),
]


def forbid_others() -> None:
    """Permit no other call from now on. Raises OSError."""
    load(compiled(_PLAIN.split(), _CONDITIONAL))
