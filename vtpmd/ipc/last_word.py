"""Giving something to somebody who has to say that it has it, and waiting for that, not for ever.

Two must not have it. So who waits no longer hears nothing any more, and the kernel decides: the
other's word has arrived by then, or the other fails to send it.
"""

from collections.abc import Sequence

from .channel import Channel, ChannelClosedError, IllegalMessageError
from .messages import Message


def answered(channel: Channel, message: Message, fds: Sequence[int], patience: float) -> bool:
    """Give it away, and wait so many seconds; whether the other has it.

    If not, it can't have it later either.
    """
    channel.set_patience(patience)
    try:
        channel.send(message, fds)
        channel.receive()
    except TimeoutError:
        return answered_at_last(channel)
    except (ChannelClosedError, IllegalMessageError, OSError):
        return False
    return True


def answered_at_last(channel: Channel) -> bool:
    """Wait no longer: whether the other has said that it has it."""
    try:
        channel.stop_hearing()
        channel.receive()
    except (ChannelClosedError, IllegalMessageError, OSError):
        return False
    return True
