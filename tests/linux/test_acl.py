"""Sockets of users who may not give them away, tried by real users."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.users import act_as, as_root, reached
from vtpmd.linux import acl, sockets

DAEMON, ALICE, BOB, SHARED = 65531, 65532, 65533, 65530

pytestmark = as_root


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket that is to be, in a directory of DAEMON."""
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory:
        Path(directory).chmod(0o755)
        os.chown(directory, DAEMON, DAEMON)
        yield Path(directory, "s")


def whoever_reaches(path: Path) -> str:
    """The letters of those who may connect."""
    users = {
        "a": (ALICE, []),
        "b": (BOB, []),
        "s": (BOB, [SHARED]),
        "d": (BOB, [DAEMON]),
    }
    return "".join(
        letter
        for letter, (user, groups) in users.items()
        if act_as(user, lambda: reached(path), groups)
    )


CASES = [
    (0o600, ALICE, None, "a"),
    (0o660, ALICE, None, "a"),
    (0o660, ALICE, SHARED, "as"),
    (0o660, None, SHARED, "s"),
    (0o600, ALICE, SHARED, "a"),
    (0o640, ALICE, SHARED, "a"),
    (0o666, ALICE, SHARED, "absd"),
    (0o666, None, SHARED, "absd"),
]


@pytest.mark.parametrize(("mode", "owner", "group", "reach"), CASES)
def test_an_unprivileged_daemon_lets_in_whom_it_may_not_make_owner(
    path: Path, mode: int, owner: int | None, group: int | None, reach: str
) -> None:
    def listen() -> bool:
        with sockets.listen(path, mode=mode, owner=owner, group=group):
            return True

    def grant(*grant: Any) -> bool:
        sockets.grant_anew(path, *grant)
        return True

    with sockets.listen(path, mode=0o600) as listener:  # root's, under its temporary name
        os.chown(path, DAEMON, DAEMON)
        assert act_as(DAEMON, lambda: grant(mode, owner, group))
        assert acl.is_shared(path)
        assert path.stat().st_uid == DAEMON
        assert whoever_reaches(path) == reach
        assert act_as(DAEMON, lambda: grant(0o600, None, None))
        assert not acl.is_shared(path)
        assert whoever_reaches(path) == ""
        listener.close()
    path.unlink()
    assert act_as(DAEMON, listen)
    assert acl.is_shared(path)


@pytest.mark.parametrize(("mode", "owner", "group", "reach"), CASES)
def test_root_makes_them_owner(
    path: Path, mode: int, owner: int | None, group: int | None, reach: str
) -> None:
    with sockets.listen(path, mode=mode, owner=owner, group=group):
        assert not acl.is_shared(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert whoever_reaches(path) == reach
        sockets.grant_anew(path, 0o600, BOB, None)
        assert whoever_reaches(path) == "bsd"


def test_a_group_of_its_own_takes_no_list(path: Path) -> None:
    def listen() -> bool:
        with sockets.listen(path, mode=0o660, group=SHARED):
            return not acl.is_shared(path) and path.stat().st_gid == SHARED

    assert act_as(DAEMON, listen, [SHARED])


def test_a_file_system_without_lists_is_told() -> None:
    with pytest.raises(OSError) as refused:
        acl.share(Path("/proc/self/status"), 0o660, ALICE, None)
    assert refused.value.errno == errno.EOPNOTSUPP
    assert not acl.is_shared(Path("/proc/self/status"))
