"""Of which errors a host recovers by itself: it was short of something for a moment."""

import errno
from typing import Final

_SCARCITIES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOBUFS}
)


def is_scarcity(error: OSError) -> bool:
    """Whether no descriptor, process or memory was left: the same may go better soon."""
    return error.errno in _SCARCITIES
