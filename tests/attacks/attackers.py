"""Attackers of the combined attack, each a process of its own, until SIGTERM.

    python -m tests.attacks.attackers guest CONTROL
    python -m tests.attacks.attackers worker CONTROL
    python -m tests.attacks.attackers member CONTROL-OF-IDLE CONTROL-OF-ANOTHER
    python -m tests.attacks.attackers user ADMIN
    python -m tests.attacks.attackers crowd ADMIN

Each prints how many rounds of its attack it has made.
"""

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.attacks.taken import CHANNEL, TakenOver
from tests.bench.encoding import CREATE_PRIMARY, OWNER, PASSWORD, command, creation, ecc
from tests.bench.encoding import SIGNING as SIGNING_KEY
from tests.peers.client import CMD_STOP, STARTUP_CLEAR, Control, Data, PeerError

BUFFER = 3968
ROUNDS = 10
"""As many before the machine is reset."""
CROWD, CONNECTIONS, FIRST_OF_CROWD = 60, 32, 100_000
CMD_SET_STATEBLOB = 13
TROUBLE = (OSError, PeerError, AssertionError)
"""What an attacker gets when it is shut out: it tries again."""

CAPABILITY = struct.pack(">HIIIII", 0x8001, 22, 0x17A, 6, 0x100, 200)
EXTEND = command(0x182, (16,), bytes.fromhex("00000001000b") + b"\x66" * 32, PASSWORD)
GUESTS = [
    struct.pack(">IBI", 8, 4, 22) + CAPABILITY * 180,
    struct.pack(">HI", 0x8001, 2**32 - 1) + CAPABILITY * 180,
    CAPABILITY * 180,
    EXTEND * 60,
    b"\xff" * BUFFER,
    bytes(BUFFER),
    command(CREATE_PRIMARY, (OWNER,), creation(ecc(SIGNING_KEY)), PASSWORD),
]


def attached(control: Path) -> Iterator[Data]:
    """The data channel of a machine that has just been started, again and again."""
    while True:
        with contextlib.suppress(*TROUBLE), Control(control, 5.0) as machine:
            machine.power_on()
            data = machine.data_channel()
            try:
                data.execute(STARTUP_CLEAR)
                yield data
            finally:
                data.close()


def guest(control: str) -> Iterator[None]:
    """A guest that writes whatever QEMU lets through, and reads whatever comes."""
    for data in attached(Path(control)):
        with contextlib.suppress(*TROUBLE):
            for octets in GUESTS * ROUNDS:
                data.send(octets[:BUFFER])
                while select.select([data], [], [], 0.02)[0]:
                    data.receive()
                yield


NOISE = """
try:
    for _ in range(2000):
        channel.send(encode(m.Event('defect', 'x' * 7000)), socket.MSG_DONTWAIT)
except OSError:
    pass
for number in range(64):
    try:
        os.pwrite(number, bytes(1 << 18), 1 << 20)
    except OSError:
        continue
sum(range(1000000))
"""


def worker(control: str) -> Iterator[None]:
    """A worker that floods its supervisor, its disk and its processor."""
    for data in attached(Path(control)):
        with contextlib.suppress(*TROUBLE):
            taken = TakenOver(data)
            taken.run(CHANNEL)
            for _ in range(ROUNDS):
                taken.run(NOISE)
                yield


def member(idle: str, another: str) -> Iterator[None]:
    """A member of the sockets' group, who talks to whatever listens."""
    null = os.open("/dev/null", os.O_RDONLY)
    while True:
        with contextlib.ExitStack() as stack:
            for path in (idle, another) * 10:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                with contextlib.suppress(OSError):
                    client.connect(path)
                    client.send(struct.pack(">I", CMD_STOP))
                    client.send(struct.pack(">IIII", CMD_SET_STATEBLOB, 0, 1, 200_000))
                    for _ in range(20):
                        socket.send_fds(client, [bytes(100)], [null] * 4)
            select.select([], [], [], 0.01)
        yield


def user(admin: str) -> Iterator[None]:
    """A local user without rights, who asks the admin socket all the same."""
    question = b"GET /v1/instances HTTP/1.1\r\nHost: a\r\n\r\n"
    body = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n" + bytes(
        65536
    )
    while True:
        with contextlib.ExitStack() as stack:
            clients = []
            for number in range(24):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.settimeout(0.2)
                with contextlib.suppress(OSError):
                    client.connect(admin)
                    client.sendall(question * 50 if number % 3 else body)
                    clients.append(client)
            for client in clients:
                with contextlib.suppress(OSError):
                    while len(client.recv(65536)) == 65536:
                        pass
        yield


def crowd(admin: str) -> Iterator[None]:
    """Many such users, each with many connections that announce a body and send most of it."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    head = b"POST /v1/instances HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n"
    while True:
        with contextlib.ExitStack() as stack:
            unsent: dict[socket.socket, bytes] = {}
            for user in range(CROWD):
                os.seteuid(FIRST_OF_CROWD + user)
                for _ in range(CONNECTIONS):
                    client = stack.enter_context(socket.socket(socket.AF_UNIX))
                    client.setblocking(False)
                    with contextlib.suppress(OSError):
                        client.connect(admin)
                        unsent[client] = head + bytes(250_000)
                os.seteuid(0)
            end = time.monotonic() + 2.0
            while unsent and time.monotonic() < end:
                for client, octets in list(unsent.items()):
                    try:
                        unsent[client] = octets[client.send(octets) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        del unsent[client]
                    else:
                        if not unsent[client]:
                            del unsent[client]
                select.select([], [], [], 0.02)
        yield


ATTACKERS: dict[str, Callable[..., Iterator[None]]] = {
    attacker.__name__: attacker for attacker in (guest, worker, member, user, crowd)
}


def main(kind: str, *paths: str) -> None:
    """Attack until SIGTERM, which is waited for between two rounds."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    rounds = 0
    for _ in ATTACKERS[kind](*paths):
        rounds += 1
        if ended:
            break
    print(rounds)


if __name__ == "__main__":
    main(*sys.argv[1:])
