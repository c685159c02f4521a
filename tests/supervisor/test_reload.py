"""A configuration that is read anew while the daemon runs."""

import grp
import os
import shutil
import signal
import stat
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.supervisor.harness import Daemon, until
from tests.supervisor.stage import DEADLINE, Stage
from tests.supervisor.stage import until as until_true
from vtpmd.api.schema import CreateRequest, StopRequest
from vtpmd.config.schema import Configuration
from vtpmd.operations.create import create
from vtpmd.operations.stop import stop
from vtpmd.supervisor.reload import AT_ONCE, changes, take_over


def changed(stage: Stage, **settings: object) -> Configuration:
    present = stage.host.configuration
    more = {"state_dir": str(present.state_dir), "runtime_dir": str(present.runtime_dir)}
    return Configuration.model_validate({**more, "idle_timeout": 0, **settings})


def test_what_is_taken_over_are_settings() -> None:
    assert set(Configuration.model_fields) > AT_ONCE


@pytest.mark.skipif(os.getuid() != 0, reason="giving files away takes root")
async def test_who_may_attach_changes_at_once_and_the_rest_is_named(stage: Stage) -> None:
    running = await create(stage.fleet, CreateRequest(name="a"))
    owned = await create(stage.fleet, CreateRequest(name="b", owner="65532"))
    new = changed(
        stage,
        sockets={"owner": "65533"},
        rollback="enforce",
        anchor_dir="/a",
        defaults={"pcr_banks": ["sha384"]},
    )
    assert changes(stage.host.configuration, new)[0] == ["defaults", "rollback", "sockets"]
    assert await take_over(stage.fleet, new) == ["anchor_dir"]
    assert os.stat(running.control_socket).st_uid == 65533
    assert os.stat(owned.control_socket).st_uid == 65532
    assert stage.host.anchors.policy == "enforce"
    assert stage.host.configuration.anchor_dir is None
    made = await create(stage.fleet, CreateRequest(name="c", start=False))
    assert made.pcr_banks == ("sha384",)
    await stop(stage.fleet, "a", StopRequest())


def test_a_daemon_reloads_on_its_signal(daemon: Daemon) -> None:
    right = daemon.configuration.read_text()

    def reload(text: str, told: str) -> None:
        daemon.configuration.write_text(text)
        os.kill(daemon.process(), signal.SIGHUP)
        assert until(lambda: told in daemon.log())

    reload(f"{right}\nlog: {{levle: info}}\n", "did you mean level?")
    reload(f"{right}\ndefaults: {{pcr_banks: [sha512]}}\n", '"reloaded"')
    assert daemon.control("create", "a", "--no-start")["pcr_banks"] == ["sha512"]
    reload(f"{right}\nrollback: enforce\nanchor_dir: /a\n", '"settings": ["anchor_dir"]')
    daemon.configuration.write_text(right)


@pytest.mark.skipif(os.getuid() != 0, reason="giving files away takes root")
def test_the_admin_socket_follows_its_group(daemon: Daemon) -> None:
    right = daemon.configuration.read_text()
    socket = daemon.runtime / "admin.sock"
    groups = grp.getgrall()[-2:]
    for group in groups:
        daemon.configuration.write_text(f"{right}\nadmin: {{group: {group.gr_name}}}\n")
        os.kill(daemon.process(), signal.SIGHUP)
        assert until(partial(is_shared, socket, 0o660, group.gr_gid))
    daemon.configuration.write_text(right)
    os.kill(daemon.process(), signal.SIGHUP)
    assert until(partial(is_shared, socket, 0o600, os.getegid()))


def is_shared(socket: Path, mode: int, group: int) -> bool:
    found = socket.stat()
    return (stat.S_IMODE(found.st_mode), found.st_gid) == (mode, group)


async def test_certificates_are_given_as_it_is_configured_now(stage: Stage) -> None:
    assert await take_over(stage.fleet, changed(stage, identity={"ca": "none"})) == []
    made = await create(stage.fleet, CreateRequest(name="a", start=False))
    assert made.certificates == "none"
    await take_over(stage.fleet, changed(stage))
    made = await create(stage.fleet, CreateRequest(name="b", start=False))
    assert made.certificates == "valid"


async def test_a_port_of_metrics_takes_a_restart_and_what_they_tell_does_not(stage: Stage) -> None:
    assert await take_over(stage.fleet, changed(stage, metrics={"per_instance": True})) == []
    assert stage.host.configuration.metrics.per_instance
    more = {"per_instance": True, "port": 9000}
    assert await take_over(stage.fleet, changed(stage, metrics=more)) == ["metrics"]


async def test_who_runs_sleeps_after_the_time_that_is_configured_now(stage: Stage) -> None:
    """One that never was to sleep, and is not asked for anything."""
    await create(stage.fleet, CreateRequest(name="a"))
    new = changed(stage).model_copy(update={"idle_timeout": 0.05})
    assert await take_over(stage.fleet, new) == []
    with trio.fail_after(DEADLINE):
        await until_true(lambda: stage.fleet.find("a").asleep)


@pytest.mark.served
def test_another_key_provider_is_there_at_once(daemon: Daemon) -> None:
    """And what was locked for the lack of it is served."""
    right = daemon.configuration.read_text()
    keyring = daemon.directory / "keyring2"
    both = (
        f"{right}\nkey_providers: [{{name: local, type: local}}, {{name: two, type: local, "
        f"keyring: {keyring}}}]\ndefault_provider: two\n"
    )

    def reload(text: str) -> None:
        daemon.configuration.write_text(text)
        before = daemon.log().count('"reloaded"')
        os.kill(daemon.process(), signal.SIGHUP)
        assert until(lambda: daemon.log().count('"reloaded"') > before)

    daemon.control("create", "old")
    shutil.copy(daemon.directory / "state" / "keyring", keyring)
    reload(both)
    assert daemon.control("create", "new")["provider"] == "two"
    daemon.control("stop", "new")
    reload(right)
    assert "key-provider-not-configured" in daemon.log()
    assert daemon.ctl("start", "new").returncode == 8
    assert daemon.control("info", "old")["state"] == "running"
    reload(both)
    daemon.until("new", lambda info: info["state"] == "running")
