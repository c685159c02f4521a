"""A keeper that is replaced by another: nothing is lost, whoever of them ends when."""

import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.keeper.harness import Keeper, estate, kept, one, order_of, readable
from tests.keeper.test_bequest import bequest, connected
from tests.worker.harness import DEADLINE
from vtpmd.ipc.channel import Channel
from vtpmd.ipc.keepers import (
    HandedOn,
    HandOn,
    KeeperNotReplaced,
    KeeperPrepared,
    KeeperReplaced,
    ReplaceKeeper,
)
from vtpmd.ipc.messages import (
    Asleep,
    Message,
    NotAwake,
    ReadSleepers,
    Sleepers,
    WakeUp,
)
from vtpmd.ipc.rules import Side, State
from vtpmd.keeper import succession
from vtpmd.keeper.deks import Deks
from vtpmd.linux.descriptors import close_fds
from vtpmd.supervisor import serving_lock


@pytest.fixture
def keeper(short_path: Path) -> Iterator[Keeper]:
    with kept(short_path) as keeper:
        yield keeper


def test_another_one_goes_on_with_all_there_is(keeper: Keeper) -> None:
    """Who sleeps goes on sleeping, and neither workers nor the daemon connect anew."""
    asleep, awake, crashed = (keeper.keep(number) for number in (1, 2, 3))
    asleep.rest()
    with connected(awake), connected(crashed) as machine:
        crashed.close()
        before = keeper.pid
        keeper.replace()
        assert serving_lock.holder(keeper.path) == keeper.pid != before
        assert keeper.asleep() == {one(1)}
        for number in (2, 3):
            close_fds(fds := bequest(keeper, number))
            assert len(fds) == 3
        assert not readable(machine.data.fileno(), 0)
        awake.rest()
        assert keeper.asleep() == {one(1), one(2)}
    asleep.clients[0].send(b"\0")
    assert keeper.told(NotAwake).uuid == one(1)  # nothing was sealed here


def test_again_and_again(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    keeper.replace()
    keeper.keep(2).rest()
    keeper.replace()
    assert keeper.asleep() == {one(1), one(2)}
    keeper.daemon.close()
    assert not keeper.ends(0.1)
    keeper.reconnect()
    assert keeper.asleep() == {one(1), one(2)}


def test_the_daemon_hears_its_version_and_nothing_is_said_twice(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    keeper.told(Asleep)
    with keeper.successor() as theirs:
        keeper.daemon.send(ReadSleepers())
        keeper.daemon.send(ReplaceKeeper(), [theirs])
        keeper.daemon.send(ReadSleepers())
    heard = list[type]()
    while heard.count(Sleepers) < 2:
        assert readable(keeper.daemon)
        message, fds = keeper.daemon.receive()
        close_fds(fds)
        heard.append(type(message))
    assert heard == [Asleep, Sleepers, KeeperReplaced, Asleep, Sleepers]
    keeper.follow()


def test_it_is_sealed_as_the_first_one_is(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    keeper.replace()
    keeper.asleep()
    status = Path(f"/proc/{keeper.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Seccomp"].strip() == "2"
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["VmLck"].split()[0]) > 0


def test_who_is_being_woken_is_waited_for(keeper: Keeper) -> None:
    """And what could not be woken is tried again by the next one, though nobody asks once more."""
    keeper.keep(1).rest()
    keeper.daemon.send(WakeUp(one(1)))
    keeper.replace()
    assert keeper.told(NotAwake).uuid == one(1)
    assert keeper.asleep() == {one(1)}


def test_a_new_one_that_has_ended_replaces_nobody(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    with keeper.successor() as theirs:
        pid, pidfd = keeper.pending
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        keeper.daemon.send(ReplaceKeeper(), [theirs])
    assert "ended" in keeper.told(KeeperNotReplaced).reason
    assert keeper.asleep() == {one(1)}


def test_a_new_one_that_hears_nothing_is_not_waited_for_for_ever(keeper: Keeper) -> None:
    keeper.keep(1).rest()
    with keeper.successor() as theirs:
        pid, pidfd = keeper.pending
        os.kill(pid, signal.SIGSTOP)
        keeper.daemon.send(ReplaceKeeper(), [theirs])
        assert keeper.told(KeeperNotReplaced)
    os.kill(pid, signal.SIGCONT)
    assert readable(pidfd)  # it finds nobody, and ends
    os.waitpid(pid, 0)
    os.close(pidfd)
    assert serving_lock.holder(keeper.path) == keeper.pid
    assert keeper.asleep() == {one(1)}
    keeper.replace()
    assert keeper.asleep() == {one(1)}


@contextmanager
def asked(keeper: Keeper) -> Iterator[Channel]:
    """The keeper is to give way to this process."""
    ours, theirs = Channel.pair()
    channel = Channel(ours, Side.SUCCESSOR, State.KEEPER_AWAITED)
    channel.send(KeeperPrepared())
    with theirs:
        keeper.daemon.send(ReplaceKeeper(), [theirs.fileno()])
    try:
        yield channel
    finally:
        channel.close()


def _hear(channel: Channel) -> Message:
    assert readable(channel)
    message, fds = channel.receive()
    close_fds(fds)
    return message


@pytest.mark.parametrize("heard", [0, 1, 3], ids=["nothing", "one", "all"])
def test_a_new_one_that_ends_before_it_says_so_has_nothing(keeper: Keeper, heard: int) -> None:
    for number in (1, 2):
        keeper.keep(number).rest()
    with asked(keeper) as channel:
        for _ in range(heard):
            _hear(channel)
    assert keeper.told(KeeperNotReplaced)
    assert keeper.asleep() == {one(1), one(2)}
    keeper.replace()
    assert keeper.asleep() == {one(1), one(2)}


def test_what_a_taken_over_worker_sends_meanwhile_is_its_own_matter(keeper: Keeper) -> None:
    """Its packets wait, and the next keeper judges them as this one would have."""
    keeper.keep(1).rest()
    worker = keeper.keep(2)
    keeper.asleep()
    with keeper.successor() as theirs:
        keeper.daemon.send(ReplaceKeeper(), [theirs])
        with socket.socket(fileno=os.dup(worker.channel.fileno())) as sock:
            sock.send(b"nonsense")
    keeper.told(KeeperReplaced)
    keeper.follow()
    assert worker.answer() is None
    assert keeper.asleep() == {one(1)}


# --- the new one, in this process ----------------------------------------------------------------


@dataclass
class Predecessor:
    """A keeper's end of its channel to a successor, which is prepared, in a thread of its own."""

    channel: Channel
    answer: "Future[succession.Succession | None]"

    def hand_on(self, known: int, said: int, lock: int = -1) -> None:
        """Hand on so many TPMs, and say that there were so many."""
        for number in range(known):
            order = order_of(one(number + 1))
            with estate() as (fds, _), files(2) as more:
                self.channel.send(HandOn(one(number + 1), "web", order=(order,)), [*more, *fds])
        with socket.socket(socket.AF_UNIX) as listener, files(1) as other:
            self.channel.send(HandedOn(said), [listener.fileno(), *(other if lock < 0 else [lock])])

    def found(self) -> succession.Succession | None:
        """What the successor goes on with, if it does."""
        return self.answer.result(DEADLINE)


@contextmanager
def files(count: int) -> Iterator[list[int]]:
    fds = [os.memfd_create("any") for _ in range(count)]
    try:
        yield fds
    finally:
        close_fds(fds)


@pytest.fixture
def predecessor() -> Iterator[Predecessor]:
    ours, theirs = Channel.pair()
    channel = Channel(ours, Side.PREDECESSOR, State.KEEPER_AWAITED)
    with theirs, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(succession.succeed, theirs, Deks())
        assert isinstance(_hear(channel), KeeperPrepared)
        yield Predecessor(channel, answer)
        channel.close()
        if (found := answer.result(DEADLINE)) is not None:
            found.listener.close()
            os.close(found.lock)
            for _, sleeper, _ in found.known:
                assert sleeper.estate is not None
                close_fds([*sleeper.estate.fds, sleeper.lock, sleeper.progress])


def test_all_that_was_handed_on_is_there(predecessor: Predecessor) -> None:
    predecessor.hand_on(known=2, said=2)
    found = predecessor.found()
    assert found is not None
    assert [(uuid, due) for uuid, _, due in found.known] == [(one(1), None), (one(2), None)]
    for uuid, sleeper, _ in found.known:
        assert sleeper.estate is not None
        with sleeper.estate.whole_order() as order:
            assert order == order_of(uuid)
        assert len(sleeper.estate.sockets) == 4


def test_a_keeper_that_dies_when_it_has_handed_on_all_is_succeeded(
    predecessor: Predecessor,
) -> None:
    """It does not hear any more that the other one has all, and holds no lock."""
    predecessor.channel.stop_hearing()
    predecessor.hand_on(known=1, said=1)
    found = predecessor.found()
    assert found is not None
    assert len(found.known) == 1


@pytest.mark.parametrize(("known", "said"), [(1, 2), (2, 1)])
def test_who_has_not_got_all_has_nothing(predecessor: Predecessor, known: int, said: int) -> None:
    predecessor.hand_on(known, said)
    assert predecessor.found() is None


def test_a_keeper_that_dies_in_the_middle_is_not_succeeded(predecessor: Predecessor) -> None:
    """The daemon has duplicates of what it had; half of it would only be in their way."""
    with estate() as (fds, _), files(2) as more:
        order = order_of(one(1))
        predecessor.channel.send(HandOn(one(1), "web", order=(order,)), [*more, *fds])
    predecessor.channel.close()
    assert predecessor.found() is None


def test_a_keeper_that_lives_and_hears_nothing_goes_on(
    predecessor: Predecessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock says so."""
    monkeypatch.setattr(succession, "_LETS_GO", 0.05)
    with files(1) as (lock,):
        ready, go_on = os.pipe(), os.pipe()
        if (pid := os.fork()) == 0:
            fcntl.lockf(lock, fcntl.LOCK_SH)
            os.write(ready[1], b"!")
            os.read(go_on[0], 1)
            os._exit(0)
        try:
            os.read(ready[0], 1)
            predecessor.channel.stop_hearing()
            predecessor.hand_on(0, 0, lock)
            assert predecessor.found() is None
        finally:
            os.write(go_on[1], b"!")
            os.waitpid(pid, 0)
            close_fds([*ready, *go_on])


@pytest.mark.parametrize(
    ("message", "fds"),
    [
        (HandOn(one(1), "web", worker=True), 2),
        (HandOn(one(1), "web", bequest=True), 4),
        (HandOn(one(1), "web"), 5),
    ],
    ids=["no worker's channel", "half a bequest", "an estate that is none"],
)
def test_descriptors_that_are_missing_are_refused(
    predecessor: Predecessor, message: HandOn, fds: int
) -> None:
    with files(fds) as any_:
        predecessor.channel.send(message, any_)
    assert predecessor.found() is None
