"""The keeper: what it takes, from whom, and what one of those it keeps can't do to others."""

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.keeper.harness import Keeper, estate, kept, one, order_of
from vtpmd.ipc.messages import Asleep, NotAwake, TakenBack, WakeUp
from vtpmd.ipc.rules import CODEC
from vtpmd.supervisor import serving_lock

MANY = 400
"""More reports than fit into a socket that nobody reads."""


@pytest.fixture
def keeper(short_path: Path) -> Iterator[Keeper]:
    with kept(short_path) as keeper:
        yield keeper


def test_what_a_worker_gives_back_is_told_with_duplicates_and_without_the_key(
    keeper: Keeper,
) -> None:
    sleeper = keeper.keep(1)
    sleeper.rest()
    told = keeper.told(Asleep)
    assert told == Asleep(one(1))
    assert b"\x5a" * 32 not in CODEC.encode(told)
    assert keeper.asleep() == {one(1)}


def test_the_kernel_tells_which_process_it_is(keeper: Keeper) -> None:
    keeper.asleep()
    assert serving_lock.holder(keeper.path) == keeper.pid


def test_it_outlives_the_daemon_as_long_as_something_sleeps(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    keeper.keep(2)
    keeper.reconnect()
    assert keeper.asleep() == {one(1)}
    keeper.daemon.close()
    assert not keeper.ends(0.3)
    keeper.reconnect()
    assert keeper.asleep() == {one(1)}


def test_it_ends_with_the_daemon_when_nothing_is_left(keeper: Keeper) -> None:
    sleeper = keeper.keep(1)
    keeper.asleep()
    sleeper.close()
    keeper.daemon.close()
    assert keeper.ends()


def test_a_client_s_octet_wakes_it_and_what_fails_is_tried_again(keeper: Keeper) -> None:
    """Nothing was sealed here, so whoever is forked for it gives up."""
    sleeper = keeper.keep(1)
    sleeper.rest()
    sleeper.clients[1].send(b"\0")
    for _ in range(2):
        assert keeper.told(NotAwake).uuid == one(1)
    assert keeper.asleep() == {one(1)}


def test_the_daemon_wakes_it(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    keeper.daemon.send(WakeUp(one(1)))
    keeper.daemon.send(WakeUp(one(2)))  # nobody's
    assert keeper.told(NotAwake).uuid == one(1)


def test_a_worker_that_serves_takes_the_place_of_its_last_one(keeper: Keeper) -> None:
    first = keeper.keep(1)
    second = keeper.keep(1)
    assert first.answer() is None
    second.rest()
    third = keeper.keep(1)  # what sleeps is nobody's to replace
    assert third.answer() is None
    assert keeper.asleep() == {one(1)}


def _pipe(fds: list[int]) -> int:
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def _network(fds: list[int]) -> int:
    return socket.socket(socket.AF_INET).detach()


def _socket_in_place_of_the_file(fds: list[int]) -> int:
    return os.dup(fds[-1])


@pytest.mark.parametrize(
    ("place", "make"),
    [(-1, _pipe), (-1, _network), (0, _socket_in_place_of_the_file)],
    ids=["pipe", "network", "memory"],
)
def test_what_could_hold_it_up_is_not_kept(
    keeper: Keeper, place: int, make: Callable[[list[int]], int]
) -> None:
    """Polling, say, a pipe is harmless, but a guest's file system would decide when it returns."""
    neighbour = keeper.keep(1)
    neighbour.rest()
    worker = keeper.keep(2)
    with estate() as (fds, _):
        fds[place] = wrong = make(fds)
        worker.give_back(fds)
        os.close(wrong)
    assert worker.answer() is None
    assert keeper.asleep() == {one(1)}


@pytest.mark.parametrize("held", [False, True], ids=["", "its end is held elsewhere"])
@pytest.mark.parametrize(
    "packet",
    [b"nonsense", CODEC.encode(WakeUp(one(1))), bytes(100_000)],
    ids=["nonsense", "an order", "too long"],
)
def test_a_worker_that_breaks_the_rules_has_no_keeper_any_more(
    keeper: Keeper, packet: bytes, held: bool
) -> None:
    neighbour = keeper.keep(1)
    neighbour.rest()
    worker = keeper.keep(2, held)
    with socket.socket(fileno=os.dup(worker.channel.fileno())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.send(packet)
        with contextlib.suppress(BrokenPipeError):  # it was faster
            sock.send(packet)
    assert held or worker.answer() is None
    assert keeper.asleep() == {one(1)}
    assert not keeper.ends(0.1)
    keeper.keep(2).rest()
    assert keeper.asleep() == {one(1), one(2)}


def test_whoever_gives_back_another_s_tpm_has_given_back_its_own(keeper: Keeper) -> None:
    """What a taken-over worker says of itself is passed on to who wakes it, and decides nothing."""
    keeper.keep(1).rest()
    liar = keeper.keep(2)
    with estate() as (fds, _):
        liar.channel.send(order_of(one(1)), fds)
        assert isinstance(liar.answer(), TakenBack)
    assert keeper.asleep() == {one(1), one(2)}
    keeper.daemon.send(WakeUp(one(2)))
    assert keeper.told(NotAwake).uuid == one(2)
    assert keeper.asleep() == {one(1), one(2)}


def test_starved_of_descriptors_it_takes_no_more_and_keeps_what_it_has(keeper: Keeper) -> None:
    """The worker that could not rest goes on; the next time it can."""
    keeper.keep(1).rest()
    worker = keeper.keep(2)
    keeper.asleep()
    open_now = len(os.listdir(f"/proc/{keeper.pid}/fd"))
    before = resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, (open_now + 3, before[1]))
    with estate() as (fds, _):
        worker.give_back(fds)
    assert worker.answer() is None
    resource.prlimit(keeper.pid, resource.RLIMIT_NOFILE, before)
    assert keeper.asleep() == {one(1)}
    keeper.keep(2).rest()
    assert keeper.asleep() == {one(1), one(2)}


def test_a_daemon_that_does_not_read_holds_nobody_up(keeper: Keeper) -> None:
    """Workers that rest meanwhile are kept, and it is told everything once it does read."""
    resting = [keeper.keep(number) for number in range(1, MANY)]
    for worker in resting:
        worker.rest(clients=0)
    assert keeper.asleep() == {worker.uuid for worker in resting}
    keeper.reconnect()
    assert keeper.asleep() == {worker.uuid for worker in resting}


def test_nobody_reads_its_memory(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    status = Path(f"/proc/{keeper.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["NoNewPrivs"].strip() == "1"
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["VmLck"].split()[0]) > 0  # in secret memory, or in memory that is locked
    assert fields["CoreDumping"].strip() == "0"
    assert fields["Seccomp"].strip() == "2"


def test_it_wakes_by_itself_what_is_due(keeper: Keeper) -> None:
    """A countdown timer of the TPM ends; the daemon may be away."""
    keeper.keep(1).rest(due=60_000)
    keeper.keep(2).rest(due=50)
    keeper.keep(3).rest()
    keeper.daemon.close()
    keeper.reconnect()
    assert keeper.told(NotAwake).uuid == one(2)  # nothing was sealed here
    assert keeper.asleep() == {one(1), one(2), one(3)}


def test_what_is_due_stays_so_when_the_keeper_is_replaced(keeper: Keeper) -> None:
    keeper.keep(1).rest(due=3000)
    keeper.replace()
    assert keeper.told(NotAwake).uuid == one(1)
