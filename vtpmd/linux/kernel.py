"""System calls that Python 3.11 does not offer: prctl, capset, seccomp and Landlock, by ctypes.

Loaded before any sandbox closes. Every function raises OSError.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# Numbers shared by every architecture since Linux 5.1.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION_FLAG = 1
_LANDLOCK_PATH_BENEATH = 1
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_BPF_INSTRUCTION_SIZE = 8


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, argument: int = 0) -> int:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero)
    return _check(result, f"prctl {option}")


def drop_capabilities() -> None:
    """Empty the effective, permitted and inheritable sets of this thread (capset(2))."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def filter_system_calls(call: int, program: bytes) -> None:
    """Load a BPF program for every thread of this process (seccomp(2), whose number is `call`)."""
    described = _FilterProgram(len(program) // _BPF_INSTRUCTION_SIZE, program)
    result = _libc.syscall(
        call, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(described)
    )
    if result > 0:
        raise OSError(errno.ESRCH, f"seccomp: thread {result} has another filter")
    _check(result, "seccomp")


def landlock_abi() -> int:
    """The kernel's Landlock ABI, 0 if there is none."""
    version: int = _libc.syscall(
        _LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION_FLAG
    )
    return max(0, version)


def landlock(handled: tuple[int, ...], allowed: Iterable[tuple[int, int]]) -> None:
    """Confine this thread and its children for good.

    `handled`: the access bits refused everywhere (file system, network, scopes; as many as the
    ABI knows); `allowed`: descriptors of directories and the file system bits granted again
    beneath each.
    """
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    ruleset = _check(
        _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0),
        "landlock_create_ruleset",
    )
    try:
        for beneath, bits in allowed:
            rule = struct.pack("=Qi", bits, beneath)
            _check(
                _libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0),
                "landlock_add_rule",
            )
        _check(_libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
