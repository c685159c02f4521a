"""Non-blocking channels under trio: wait for readiness, then let the channel do its work.

The wait is outside of the handler: an exception that is being handled keeps the frames it came
through alive, and with them a buffer for the largest message, for as long as an instance runs.
"""

from collections.abc import Sequence
from contextlib import suppress

import trio

from vtpmd.ipc.channel import Channel
from vtpmd.ipc.messages import Message
from vtpmd.ipc.version import Version


async def send(channel: Channel, message: Message, fds: Sequence[int] = ()) -> None:
    """`Channel.send`, waiting while the socket is full."""
    while True:
        with suppress(BlockingIOError):
            return channel.send(message, fds)
        await trio.lowlevel.wait_writable(channel.fileno())


async def receive(channel: Channel) -> tuple[Message, list[int]]:
    """`Channel.receive`, waiting while nothing is there.

    A checkpoint in any case: who sends without a pause does not keep others from their turn.
    """
    await trio.lowlevel.checkpoint()
    while True:
        with suppress(BlockingIOError):
            return channel.receive()
        await trio.lowlevel.wait_readable(channel.fileno())


async def meet(channel: Channel) -> Version:
    """`Channel.meet`, waiting while nothing is there."""
    while True:
        with suppress(BlockingIOError):
            return channel.meet()
        await trio.lowlevel.wait_readable(channel.fileno())
