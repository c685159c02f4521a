"""Gives workers one more command, which executes Python text inside the sealed process.

Every Python with this directory in PYTHONPATH imports this module when it starts; it acts in
zygotes only. It stands for a hole in the engine through which a guest's code got in. Nothing of it
is in vtpmd: the daemon, its zygote and the workers' sandbox are the real ones.
"""

import sys

COMMAND = 0x2000FFFF
"""A vendor's command code that no other command has. Its parameters are the text, its answer is
text, too."""


def _open_hole() -> None:
    # What the text uses is loaded now: nothing can be imported in the sandbox.
    import array
    import ctypes
    import errno
    import fcntl
    import gc
    import mmap
    import os
    import resource
    import signal
    import socket
    import stat
    import struct
    from typing import Annotated

    import cbor2

    from vtpmd.tpm.command import command
    from vtpmd.tpm.state import Tpm
    from vtpmd.tpm.wire.kinds import Rest
    from vtpmd.tpm.wire.structure import Structure

    libc = ctypes.CDLL(None, use_errno=True)

    def syscall(number: int, *arguments: int | bytes) -> int:
        """A system call by number. Raises OSError."""
        words = [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
        result = int(libc.syscall(ctypes.c_long(number), *words))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    # Code that a hole in native code would have let in: mov eax, 20 (getpid); int 0x80; ret.
    machine_code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | 2 | mmap.PROT_EXEC)
    machine_code.write(bytes.fromhex("b814000000 cd80 c3"))
    address = ctypes.addressof(ctypes.c_char.from_buffer(machine_code))

    scope: dict[str, object] = {
        **{module.__name__: module for module in (array, ctypes, errno, fcntl, gc, mmap, os)},
        **{module.__name__: module for module in (resource, signal, socket, stat, struct, sys)},
        "cbor2": cbor2,
        "syscall": syscall,
        "machine_code": machine_code,
        "call_of_i386": ctypes.CFUNCTYPE(ctypes.c_int)(address),
    }

    class Answer(Structure):
        text: Annotated[bytes, Rest()]

    @command(COMMAND)
    def execute(tpm: Tpm, /, text: Annotated[bytes, Rest()]) -> Answer:
        scope["answer"] = ""
        try:
            exec(text.decode(), scope)
        except OSError as error:
            return Answer(f"{errno.errorcode.get(error.errno or 0)}".encode())
        except BaseException as error:
            return Answer(f"{type(error).__name__}: {error}".encode())
        return Answer(f"{scope['answer']}".encode())


if "vtpmd.worker.zygote" in sys.orig_argv:
    _open_hole()
