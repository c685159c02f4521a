"""A configuration that is read anew while the daemon runs."""

import grp
import os
import signal
import stat
from functools import partial
from pathlib import Path

import pytest

from tests.supervisor.harness import Daemon, until
from tests.supervisor.stage import Stage
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
    reload(f"{right}\nidle_timeout: 5\n", '"settings": ["idle_timeout"]')
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
