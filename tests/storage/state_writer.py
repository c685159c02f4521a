"""Run as a program under strace: one operation on the state file `nvram` of a directory.

First argument: the directory. Second: `save`, `grow` (a larger record than there was space for, by
a reservation), `clear`, `first` (the first save after a load, which settles), `create`. The system
call sched_yield marks the moments before and after it. Prints the kind of a StorageError.
"""

import os
import sys

from tests.storage.simulated import VM
from vtpmd.storage.device import FileDevice
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.state_file import StateFile
from vtpmd.storage.state_files import create_state_file, open_state_file

OLD, NEW, LARGE = b"old" * 4000, b"new" * 5000, b"large" * 50_000


def main(path: str, way: str) -> None:
    """Do what `way` says."""
    dir_fd = open_directory(path)
    if way != "create":
        file = StateFile(FileDevice(open_state_file(dir_fd, "nvram")), VM, "nvram")
        file.load()
        if way != "first":
            file.settle()
            assert file.reserve(len(NEW))
    os.sched_yield()
    failure = ""
    try:
        match way:
            case "create":
                create_state_file(dir_fd, "nvram", VM, "nvram", NEW)
            case "clear":
                file.clear()
            case "grow":
                assert file.reserve(len(LARGE))
                file.save(LARGE)
            case _:
                file.save(NEW)
    except StorageError as error:
        failure = str(error.kind)
    os.sched_yield()
    print(failure)


if __name__ == "__main__":
    main(*sys.argv[1:])
