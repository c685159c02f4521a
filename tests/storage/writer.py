"""Run as a program under strace: write one file into the directory named by the first argument.

Second argument: `replace` or `create`. The system call sched_yield marks the moments before and
after the write. Prints the kind of a StorageError.
"""

import os
import sys

from vtpmd.storage.atomic import create_file, write_file
from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory

OLD, NEW = b"old" * 4000, b"new" * 5000


def main(path: str, way: str) -> None:
    """Write NEW as `meta.json`."""
    directory = open_directory(path)
    write = create_file if way == "create" else write_file
    os.sched_yield()
    failure = ""
    try:
        write(directory, "meta.json", NEW)
    except StorageError as error:
        failure = str(error.kind)
    os.sched_yield()
    print(failure)


if __name__ == "__main__":
    main(*sys.argv[1:])
