"""The system calls a process may make, as an allow-list that libseccomp compiles (ctypes).

Whatever is not listed fails with EPERM, in every thread. A call of another architecture (int 0x80
in a process of x86-64) ends the whole process: a thread alone would leave a zombie behind.
"""

import ctypes
import errno
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass

from . import kernel

_ALLOW = 0x7FFF0000
_ERRNO_EPERM = 0x00050000 | errno.EPERM
EQUAL, MASKED_EQUAL = 4, 7
_KILL_PROCESS = 0x80000000
_ATTRIBUTE_BAD_ARCHITECTURE = 2
FIONBIO = 0x5421


@dataclass(frozen=True)
class Rule:
    """One call, permitted where an argument compares with a value."""

    name: str
    argument: int
    comparison: int
    value: int
    value_2: int = 0


NO_CODE = [Rule(name, 2, MASKED_EQUAL, mmap.PROT_EXEC, 0) for name in ("mmap", "mprotect")]
"""Memory may be had, unless it is executable."""


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("value_2", ctypes.c_uint64),
    ]


def _load_library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    library.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_release.restype = None
    return library


_library = _load_library()


@dataclass(frozen=True)
class Program:
    """A list as instructions for the kernel. `call` is the number of seccomp(2)."""

    instructions: bytes
    rules: int
    call: int


def load(program: Program) -> int:
    """Close the filter over every thread of this process; the number of rules. Raises OSError."""
    kernel.filter_system_calls(program.call, program.instructions)
    return program.rules


def compiled(calls: Iterable[str], conditional: Iterable[Rule]) -> Program:
    """The program that permits these calls, and those within the rules. Raises OSError."""
    if _library is None:
        raise OSError(errno.ENOENT, "libseccomp.so.2 is not installed")
    context = _library.seccomp_init(_ERRNO_EPERM)
    if not context:
        raise OSError(errno.ENOMEM, "seccomp_init failed")
    try:
        _check(
            _library.seccomp_attr_set(context, _ATTRIBUTE_BAD_ARCHITECTURE, _KILL_PROCESS),
            "seccomp: other architectures",
        )
        rules = 0
        for name in calls:
            rules += _allow(_library, context, name, None)
        for rule in conditional:
            comparison = _Comparison(rule.argument, rule.comparison, rule.value, rule.value_2)
            rules += _allow(_library, context, rule.name, comparison)
        instructions = _exported(_library, context)
    finally:
        _library.seccomp_release(context)
    return Program(instructions, rules, _library.seccomp_syscall_resolve_name(b"seccomp"))


def _exported(library: ctypes.CDLL, context: int) -> bytes:
    with open(os.memfd_create("seccomp"), "r+b") as file:  # noqa: PTH123
        _check(library.seccomp_export_bpf(context, file.fileno()), "seccomp_export_bpf")
        file.seek(0)
        return file.read()


def _allow(library: ctypes.CDLL, context: int, name: str, comparison: _Comparison | None) -> int:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:
        return 0  # this architecture has no such call
    arguments = None if comparison is None else ctypes.pointer(comparison)
    _check(
        library.seccomp_rule_add_array(
            context, _ALLOW, number, int(comparison is not None), arguments
        ),
        f"seccomp rule for {name}",
    )
    return 1


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")
