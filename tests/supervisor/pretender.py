"""A process that listens where a worker would: `python -m tests.supervisor.pretender PATH …`.

`lock` takes the serving lock first. Once somebody has connected the user is changed to `user`, if
that is given, and then everything is answered as a worker would.
"""

import argparse
import fcntl
import os
import socket
from uuid import UUID

from vtpmd.ipc.channel import Channel, ChannelClosedError
from vtpmd.ipc.messages import Event, StatusReply
from vtpmd.ipc.rules import Side, State


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--lock")
    parser.add_argument("--user", type=int)
    parser.add_argument("--silent", action="store_true")
    options = parser.parse_args()
    if options.lock:
        fcntl.lockf(os.open(options.lock, os.O_RDONLY | os.O_CREAT), fcntl.LOCK_SH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(options.path)
        listener.listen()
        print("listening", flush=True)
        connection, _ = listener.accept()
    if options.user is not None:
        os.setuid(options.user)
    channel = Channel(connection, Side.WORKER, State.SERVING)
    try:
        while True:
            channel.receive()
            if not options.silent:
                channel.send(Event("client-connected"))
                channel.send(StatusReply(UUID(int=0), "x"))
    except ChannelClosedError:
        channel.close()


if __name__ == "__main__":
    main()
