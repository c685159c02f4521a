"""A neighbour on the host: a user who may connect to one machine's TPM tries that of another."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers.instance import wait_until
from tests.peers.vtpmd import Vtpmd
from tests.users import act_as, as_root, reached, served

ALICE, BOB, SHARED, TEAM = 65533, 65532, 65531, 65530
EVERYBODY = {
    "alice": (ALICE, []),
    "bob": (BOB, []),
    "shared": (BOB, [SHARED]),
    "team": (BOB, [TEAM]),
}

pytestmark = as_root


@pytest.fixture(params=[True, False], ids=["root", "unprivileged"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Vtpmd]:
    """A daemon as root, and one that may give no file away: so it is under systemd.

    Its sockets are in group SHARED unless they have an owner of their own.
    """
    with tempfile.TemporaryDirectory(prefix="vtpmd-") as directory:
        Path(directory).chmod(0o755)
        daemon = Vtpmd(
            Path(directory), as_root=request.param, more=f"sockets: {{group: '{SHARED}'}}"
        )
        daemon.runtime.chmod(0o755)
        yield daemon
        daemon.close()


def who(path: Path, succeeds: Callable[[Path], bool]) -> set[str]:
    return {
        name
        for name, (user, groups) in EVERYBODY.items()
        if act_as(user, lambda: succeeds(path), groups)
    }


def who_is_served(path: Path) -> set[str]:
    return who(path, served)


def who_reaches(path: Path) -> set[str]:
    return who(path, reached)


def test_each_reaches_no_tpm_but_their_own(daemon: Vtpmd) -> None:
    owners = {"a": f"{ALICE}", "b": f"{BOB}:{TEAM}", "t": f":{TEAM}"}
    paths = {name: daemon.create(name, "--owner", owner).control for name, owner in owners.items()}
    paths["s"] = daemon.create("s").control
    expected = {"a": {"alice"}, "b": {"bob", "shared", "team"}, "t": {"team"}, "s": {"shared"}}
    for name, path in paths.items():
        for each in (path, path.with_name(f"{name}.sock")):
            assert who_reaches(each) == expected[name]
        assert who_is_served(path) == expected[name]


def test_who_was_the_owner_is_let_in_no_more(daemon: Vtpmd) -> None:
    instance = daemon.create("a", "--owner", str(ALICE))
    process = instance.process()
    for owner, expected in (
        (f":{TEAM}", {"team"}),
        (str(BOB), {"bob", "shared", "team"}),
        ("default", {"shared"}),
        (str(ALICE), {"alice"}),
    ):
        daemon.control("set", "a", "--owner", owner)
        assert who_reaches(instance.control) == who_is_served(instance.control) == expected
    daemon.end()
    daemon.start()
    assert who_is_served(instance.control) == {"alice"}
    assert instance.process() == process
    instance.restart()
    assert who_is_served(instance.control) == {"alice"}


def test_a_changed_configuration_holds_for_machines_that_run(daemon: Vtpmd) -> None:
    shared, own = daemon.create("s"), daemon.create("a", "--owner", str(ALICE))
    processes = [shared.process(), own.process()]
    daemon.end()
    text = daemon.configuration.read_text()
    daemon.configuration.write_text(text.replace(f"'{SHARED}'", f"'{TEAM}'"))
    daemon.start()
    wait_until(lambda: who_is_served(shared.control) == {"team"}, "the new group is served")
    assert who_is_served(own.control) == {"alice"}
    assert [shared.process(), own.process()] == processes


def test_the_worker_refuses_whom_the_file_lets_in(daemon: Vtpmd) -> None:
    """An owner may change the mode of a socket that is theirs."""
    instance = daemon.create("a", "--owner", str(ALICE))
    instance.control.chmod(0o666)
    assert who_reaches(instance.control) == set(EVERYBODY)
    assert who_is_served(instance.control) == {"alice"}
    assert f"of user {BOB}" in daemon.log()


def test_a_mode_for_everybody_is_for_everybody(daemon: Vtpmd) -> None:
    instance = daemon.create("a", "--mode", "0666")
    assert who_is_served(instance.control) == set(EVERYBODY)
    daemon.control("set", "a", "--mode", "0600")
    assert who_is_served(instance.control) == set()


def test_people_are_told_how_it_is(daemon: Vtpmd) -> None:
    is_root = Path(f"/proc/{daemon.process()}").stat().st_uid == 0
    by_list = "" if is_root else "; by an access control list"
    daemon.create("a", "--owner", f"{ALICE}:{TEAM}")
    line = f"user {ALICE}, group {TEAM} (mode 0660, its own{by_list})"
    assert line in daemon.text("info", "a")
    daemon.create("s")
    assert f"group {SHARED} (mode 0660, configured{by_list})" in daemon.text("info", "s")
    refused = daemon.ctl("set", "a", "--owner", "no-such-user")
    assert refused.returncode == 2
    assert "owner: there is no user 'no-such-user'" in refused.stderr
