"""Access control lists of files, which their owner may set without any privilege (acl(5))."""

import contextlib
import errno
import os
import struct
from pathlib import Path

_ATTRIBUTE = "system.posix_acl_access"
_HEADER = struct.pack("<I", 2)  # struct posix_acl_xattr_header of linux/posix_acl_xattr.h
_ENTRY = struct.Struct("<HHI")  # tag, permissions, ID
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF


def share(path: Path, mode: int, user: int | None, group: int | None) -> None:
    """Give `user` the owner's permissions of `mode`, and `group` the group's, at once.

    The file stays its owner's; its own group has no more than others have. Raises OSError, with
    EOPNOTSUPP where the file system has no such lists.
    """
    owners, groups, others = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = [(_USER_OBJ, owners, _NO_ID)]
    if user is not None:
        entries.append((_USER, owners, user))
    entries.append((_GROUP_OBJ, others, _NO_ID))
    if group is not None:
        entries.append((_GROUP, groups, group))
    entries += [(_MASK, owners | groups | others, _NO_ID), (_OTHER, others, _NO_ID)]
    value = _HEADER + b"".join(_ENTRY.pack(*entry) for entry in entries)
    os.setxattr(path, _ATTRIBUTE, value, follow_symlinks=False)


def remove(path: Path) -> None:
    """Leave the file with its mode alone. Raises OSError."""
    try:
        os.removexattr(path, _ATTRIBUTE, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise


def is_shared(path: Path | str) -> bool:
    """Whether a file that is there has a list."""
    with contextlib.suppress(OSError):
        os.getxattr(path, _ATTRIBUTE, follow_symlinks=False)
        return True
    return False
