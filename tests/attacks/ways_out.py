"""Ways out of a worker's sandbox: Python text that is executed inside, and what must come of it.

`supervisor` is the process id of the daemon.
"""

# What is refused by seccomp is EPERM, by Landlock EACCES.
PROCESSES = {
    "kill the supervisor": "os.kill(supervisor, 0)",
    "kill itself": "os.kill(os.getpid(), 0)",
    "kill all": "os.kill(-1, 0)",
    "tgkill": "syscall(234, os.getpid(), os.getpid(), 0)",
    "pidfd_open": "os.pidfd_open(supervisor)",
    "fork": "os.fork()",
    "vfork": "syscall(58)",
    "clone": "syscall(56, 17, 0, 0, 0, 0)",
    "clone3": "syscall(435, 0, 0)",
    "thread": "syscall(56, 0x50f00, 0, 0, 0, 0)",
    "execve": "os.execv('/bin/true', ['true'])",
    "execveat": "syscall(322, -100, b'/bin/true', 0, 0, 0)",
    "ptrace": "syscall(101, 16, supervisor, 0, 0)",
    "process_vm_readv": "syscall(310, supervisor, 0, 0, 0, 0, 0)",
    "process_vm_writev": "syscall(311, supervisor, 0, 0, 0, 0, 0)",
    "kcmp": "syscall(312, os.getpid(), supervisor, 0, 0, 0)",
    "setpriority": "os.setpriority(os.PRIO_PROCESS, 0, 5)",
    "sched_setaffinity": "os.sched_setaffinity(supervisor, [0])",
    "setsid": "os.setsid()",
}
MEMORY = {
    "memfd": "os.memfd_create('x')",
    "memfd_secret": "syscall(447, 0)",
    "executable memory": "mmap.mmap(-1, 4096, prot=7)",
    "executable and not writable": "mmap.mmap(-1, 4096, prot=5)",
    "memory made executable": (
        "m = mmap.mmap(-1, 4096)\n"
        "syscall(10, ctypes.addressof(ctypes.c_char.from_buffer(m)), 4096, 5)"
    ),
    "userfaultfd": "syscall(323, 0)",
    "shared memory": "syscall(29, 0, 4096, 0o1600)",
    "semaphores": "syscall(64, 0, 1, 0o1600)",
    "message queue": "syscall(68, 0, 0o1600)",
    "POSIX message queue": "syscall(240, b'/x', 0o102, 0o600, 0)",
    "pkey_mprotect": "syscall(329, 0, 4096, 7, 0)",
}
KERNEL = {
    "io_uring": "syscall(425, 1, 0)",
    "bpf": "syscall(321, 0, 0, 0)",
    "perf": "syscall(298, 0, 0, -1, -1, 0)",
    "keyring": "syscall(250, 0, -3, 1)",
    "add_key": "syscall(248, b'user', b'x', b'y', 1, -3)",
    "request_key": "syscall(249, b'user', b'x', 0, -3)",
    "mount": "syscall(165, b'x', b'/tmp', b'tmpfs', 0, 0)",
    "open_tree": "syscall(428, -100, b'/', 0)",
    "fsopen": "syscall(430, b'tmpfs', 0)",
    "unshare": "syscall(272, 0x10000000)",
    "setns": "syscall(308, 3, 0)",
    "chroot": "os.chroot('.')",
    "reboot": "syscall(169, 0, 0, 0, 0)",
    "load a module": "syscall(313, 0, b'', 0)",
    "set a host name": "syscall(170, b'x', 1)",
    "set the clock": "syscall(227, 0, 0)",
    "seccomp": "syscall(317, 2, 0, 0)",
    "prctl": "syscall(157, 4, 1, 0, 0, 0)",
    "personality": "syscall(135, 0)",
    "limits": "syscall(302, 0, 7, struct.pack('QQ', 9, 9), 0)",
    "limits of another": "syscall(302, supervisor, 7, 0, 0)",
    "setuid": "os.setuid(0)",
    "setresgid": "os.setresgid(0, 0, 0)",
    "setgroups": "os.setgroups([0])",
    "capset": "syscall(126, 0, 0)",
    "type into a terminal": "fcntl.ioctl(0, 0x5412, b'x')",
    "inotify": "syscall(294, 0)",
    "fanotify": "syscall(300, 0, 0)",
    "system log": "syscall(103, 3, 0, 0)",
    "landlock": "syscall(444, 0, 0, 1)",
}
SOCKETS = {
    "socket": "socket.socket()",
    "Unix socket": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "socketpair": "socket.socketpair()",
    "connect": "syscall(42, 3, b'x', 1)",
    "bind": "syscall(49, 3, b'x', 1)",
    "listen": "syscall(50, 3, 1)",
    "options": "syscall(54, 3, 1, 16, b'1111', 4)",
    "take descriptors of a process": "syscall(438, 3, 0, 0)",
}
FILES = {
    "chmod": "os.chmod('/tmp', 0o777)",
    "fchmod": "os.fchmod(0, 0o777)",
    "chown": "os.chown('/tmp', 0, 0)",
    "link": "os.link('/etc/passwd', '/tmp/vtpmd-link')",
    "symlink": "os.symlink('/etc/passwd', '/tmp/vtpmd-link')",
    "mkdir": "os.mkdir('/tmp/vtpmd-directory')",
    "fifo": "os.mkfifo('/tmp/vtpmd-fifo')",
    "device": "os.mknod('/tmp/vtpmd-device', 0o20600, 0x103)",
    "times": "os.utime('/tmp')",
    "extended attributes": "os.setxattr('/tmp', 'user.x', b'y')",
    "open by handle": "syscall(304, -100, 0, 0)",
    "name to handle": "syscall(303, -100, b'/', 0, 0, 0)",
    "chdir": "os.chdir('/')",
}
REACHES_OUT = {
    "read a file": "os.open('/etc/passwd', os.O_RDONLY)",
    "list the root": "os.open('/', os.O_RDONLY | os.O_DIRECTORY)",
    "make a file": "os.open('/tmp/vtpmd-made', os.O_CREAT | os.O_WRONLY)",
    "own memory": "os.open('/proc/self/mem', os.O_RDWR)",
    "own descriptors": "os.open('/proc/self/fd', os.O_RDONLY | os.O_DIRECTORY)",
    "the supervisor's environment": "os.open(f'/proc/{supervisor}/environ', os.O_RDONLY)",
    "a terminal": "os.open('/dev/tty', os.O_RDWR)",
    "kernel's settings": "os.open('/proc/sys/kernel/hostname', os.O_RDWR)",
}
REFUSED = [
    (act, "EPERM")
    for table in (PROCESSES, MEMORY, KERNEL, SOCKETS, FILES, REACHES_OUT)
    for act in table.items()
]

# Below, paths are of the instance's own directory `own`, and of another's, `theirs`.
OTHERS = {
    "read its state": "os.open(f'{theirs}/tpm/nvram', os.O_RDONLY)",
    "write its state": "os.open(f'{theirs}/tpm/nvram', os.O_WRONLY)",
    "make a file there": "os.open(f'{theirs}/new', os.O_CREAT | os.O_WRONLY)",
    "list its directory": "os.open(theirs, os.O_RDONLY | os.O_DIRECTORY)",
    "remove its state": "os.unlink(f'{theirs}/tpm/nvram')",
    "give it ours": "os.rename(f'{own}/tpm/nvram', f'{theirs}/tpm/nvram')",
    "take its state": "os.rename(f'{theirs}/tpm/nvram', f'{own}/tpm/nvram')",
    "read the keyring": "os.open(f'{own}/../../keyring', os.O_RDONLY)",
    "read the configuration": "os.open(f'{own}/../../../vtpmd.yaml', os.O_RDONLY)",
}
OWN = {
    "write what the supervisor believes": "os.open(f'{own}/meta.json', os.O_WRONLY)",
    "read what the supervisor believes": "os.open(f'{own}/meta.json', os.O_RDONLY)",
    "replace what the supervisor believes": "os.rename(f'{own}/tpm/nvram', f'{own}/meta.json')",
    "remove what the supervisor believes": "os.unlink(f'{own}/meta.json')",
    "make a file": "os.open(f'{own}/more', os.O_CREAT | os.O_WRONLY)",
    "list the directory": "os.open(own, os.O_RDONLY | os.O_DIRECTORY)",
    "link": "os.link(f'{own}/tpm/nvram', f'{own}/link')",
}
