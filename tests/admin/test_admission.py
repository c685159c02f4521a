"""Who is admitted to the admin socket, and how many at once."""

import grp
import os
import threading

import pytest
import trio
import trio.testing

from vtpmd.admin import admission
from vtpmd.admin.admission import Admission, administrators
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.linux.peers import Peer, PeerPolicy

from .strangers import STRANGER

GROUP = grp.getgrall()[-1]
MEMBER = Peer(1, STRANGER, frozenset({STRANGER, GROUP.gr_gid}))
OUTSIDER = Peer(1, STRANGER, frozenset({STRANGER}))
ROOT = Peer(1, 0, frozenset({0}))


def refusal(admission: Admission, peer: Peer) -> problems.Problem | None:
    try:
        admission.admit(peer)
    except OperationError as refused:
        return refused.problem
    return None


def test_only_root_the_daemon_and_the_admin_group_are_admins() -> None:
    for wanted in (None, GROUP.gr_name, "no-such-group-here"):
        assert administrators(wanted).permits(ROOT)
        assert administrators(wanted).permits(Peer(1, os.geteuid(), frozenset()))
        assert not administrators(wanted).permits(OUTSIDER)
        assert administrators(wanted).permits(MEMBER) is (wanted == GROUP.gr_name)


async def test_the_group_is_looked_up_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    admitting = Admission(GROUP.gr_name)
    assert refusal(admitting, MEMBER) is problems.FORBIDDEN
    await admitting.look_up_group()
    monkeypatch.setattr(admission, "administrators", None)  # nobody is asked any more
    assert refusal(admitting, MEMBER) is None
    assert refusal(admitting, OUTSIDER) is problems.FORBIDDEN


async def test_a_group_that_changes_is_noticed(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    opened_to: list[int | None] = []
    admitting = Admission("some-group", opened_to.append)
    await admitting.look_up_group()
    nursery.start_soon(admitting.keep_group_current)
    assert refusal(admitting, MEMBER) is problems.FORBIDDEN
    looked_up = threading.Event()

    def made(_group: str) -> PeerPolicy:
        looked_up.set()
        return PeerPolicy(gids=frozenset({GROUP.gr_gid}))

    monkeypatch.setattr(admission, "administrators", made)
    await trio.sleep(admission.LOOKUP_INTERVAL + 1)
    autojump_clock.autojump_threshold = float("inf")
    await trio.to_thread.run_sync(looked_up.wait, 30)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert refusal(admitting, MEMBER) is None
    assert opened_to == [GROUP.gr_gid]
    nursery.cancel_scope.cancel()


async def test_another_group_is_admitted_and_the_last_one_kept_out() -> None:
    opened_to: list[int | None] = []
    admitting = Admission(GROUP.gr_name, opened_to.append)
    await admitting.look_up_group()
    await admitting.follow(None)
    assert refusal(admitting, MEMBER) is problems.FORBIDDEN
    assert opened_to == [GROUP.gr_gid, None]
    await admitting.follow(GROUP.gr_name)
    assert refusal(admitting, MEMBER) is None
    assert opened_to[2:] == [None, GROUP.gr_gid]


async def test_a_late_answer_about_the_last_group_says_nothing(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    opened_to: list[int | None] = []
    asked, answered = threading.Event(), threading.Event()

    def made(_group: str) -> PeerPolicy:
        asked.set()
        assert answered.wait(30)
        return PeerPolicy(gids=frozenset({GROUP.gr_gid}))

    monkeypatch.setattr(admission, "administrators", lambda _: PeerPolicy())
    admitting = Admission("some-group", opened_to.append)
    monkeypatch.setattr(admission, "administrators", made)
    nursery.start_soon(admitting.look_up_group)
    await trio.to_thread.run_sync(asked.wait, 30)
    monkeypatch.setattr(admission, "administrators", lambda _: PeerPolicy())
    await admitting.follow(None)
    answered.set()
    with trio.fail_after(30):
        while nursery.child_tasks:
            await trio.lowlevel.checkpoint()
    assert refusal(admitting, MEMBER) is problems.FORBIDDEN
    assert opened_to == [None]


async def test_a_lookup_without_an_answer_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    admitting = Admission(GROUP.gr_name)
    autojump_clock.autojump_threshold = float("inf")
    await admitting.look_up_group()
    answered = threading.Event()
    monkeypatch.setattr(admission, "administrators", lambda _group: answered.wait(30))
    autojump_clock.autojump_threshold = 0
    await admitting.look_up_group()
    answered.set()
    assert refusal(admitting, MEMBER) is None
    assert refusal(admitting, OUTSIDER) is problems.FORBIDDEN


async def test_connections_are_limited_and_some_are_kept_for_root() -> None:
    admitting = Admission(GROUP.gr_name)
    await admitting.look_up_group()
    others = admission.CONNECTIONS - admission.RESERVED_CONNECTIONS
    users = [
        Peer(1, STRANGER + index // admission.CONNECTIONS_PER_USER, MEMBER.gids)
        for index in range(others)
    ]
    assert [refusal(admitting, user) for user in users] == [None] * others
    assert refusal(admitting, users[0]) is problems.BUSY
    assert refusal(admitting, Peer(1, STRANGER - 1, MEMBER.gids)) is problems.BUSY
    for _ in range(admission.CONNECTIONS_PER_USER):
        assert refusal(admitting, ROOT) is None
    assert refusal(admitting, ROOT) is problems.BUSY
    admitting.leave(users[0])
    assert refusal(admitting, OUTSIDER) is problems.FORBIDDEN
    admitting.leave(ROOT)
    assert refusal(admitting, ROOT) is None
