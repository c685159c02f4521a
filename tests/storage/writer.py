"""Run as a program under strace: write one file into the directory named by the first argument.

Second argument: `replace` (a spare is reserved), `plain` (none is) or `create`. The system
call sched_yield marks the moments before and after the write. Prints the kind of a StorageError.
"""

import os
import sys

from vtpmd.storage.errors import StorageError
from vtpmd.storage.files import open_directory
from vtpmd.storage.store import Store

OLD, NEW = b"old" * 4000, b"new" * 5000


def main(path: str, way: str) -> None:
    """Open a store and write NEW as `nvram`."""
    store = Store(open_directory(path))
    if way == "replace":
        store.reserve(len(NEW))
    write = store.create if way == "create" else store.write
    os.sched_yield()
    failure = ""
    try:
        write("nvram", NEW)
    except StorageError as error:
        failure = str(error.kind)
    os.sched_yield()
    print(failure)


if __name__ == "__main__":
    main(*sys.argv[1:])
