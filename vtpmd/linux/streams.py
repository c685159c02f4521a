"""Standard input, output and error: never closed, so that no other file takes their place.

A process whose descriptors 0 to 2 are closed gives them to whatever it opens next; a message that
is meant for a person then ends up in a state file or a client's socket. Raises OSError.
"""

import os

_MODES = {0: os.O_RDONLY, 1: os.O_WRONLY, 2: os.O_WRONLY}


def occupy_streams() -> None:
    """Open the null device in place of each standard stream that is closed."""
    for fd in _MODES:
        try:
            os.fstat(fd)
        except OSError:
            _open_null(fd)


def silence_streams() -> None:
    """Replace all three by the null device: nothing can be read from or written to them."""
    for fd in _MODES:
        _open_null(fd)


def _open_null(fd: int) -> None:
    null = os.open(os.devnull, _MODES[fd])
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
    os.set_inheritable(fd, True)
