"""Landlock: no file but those that are open, and no network."""

from collections.abc import Sequence

from . import kernel

# Access bits (linux/landlock.h): what each ABI can refuse. All of it is.
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_FS_BITS_NEWEST = 16
_REMOVE_FILE = 1 << 5
_NET_ALL, _NET_ABI = 0b11, 4
_SCOPE_ALL, _SCOPE_ABI = 0b11, 6


def close_files(removable: Sequence[int] = (), *, scopes: bool = True) -> int:
    """Let this process open no file and use no network any more; the kernel's ABI.

    `removable`: descriptors of directories whose files it may remove. `scopes`: nor reach others by
    abstract sockets or signals, where the kernel knows of that. Raises OSError.
    """
    abi = kernel.landlock_abi()
    if not abi:
        raise OSError(0, "the kernel has no Landlock")
    handled: tuple[int, ...] = ((1 << _FS_BITS.get(abi, _FS_BITS_NEWEST)) - 1,)
    if abi >= _NET_ABI:
        handled += (_NET_ALL,)
    if scopes and abi >= _SCOPE_ABI:
        handled += (_SCOPE_ALL,)
    kernel.landlock(handled, [(fd, _REMOVE_FILE) for fd in removable])
    return abi
