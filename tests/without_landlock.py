"""Run a command in a process whose kernel refuses Landlock: `python without_landlock.py COMMAND …`.

A seccomp filter, which every program that is started from here has as well.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

PREFIX = [sys.executable, str(Path(__file__))]
"""What stands in front of a command."""

_ALLOW, _ERRNO_ENOSYS = 0x7FFF0000, 0x00050000 | errno.ENOSYS
_CREATE_RULESET = 444


def main() -> None:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    refuse = ctypes.c_uint32(_ERRNO_ENOSYS)
    assert library.seccomp_rule_add(context, refuse, _CREATE_RULESET, ctypes.c_uint(0)) == 0
    assert library.seccomp_load(context) == 0
    os.execv(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
