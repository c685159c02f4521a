"""The daemon from outside: real processes, real sockets, real files."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from tests.state_files import BOMB, PLACES, overwrite, put
from tests.supervisor.harness import (
    GET_RANDOM_8,
    STARTUP_CLEAR,
    Daemon,
    execute,
    power_on,
    running,
    until,
)

RC_SUCCESS, RC_FAILURE = 0, 0x101


def instance_directory(daemon: Daemon, name: str) -> Path:
    return daemon.state / "instances" / str(daemon.control("info", name)["uuid"])


def test_a_created_instance_can_be_used_at_once(daemon: Daemon) -> None:
    info = daemon.control("create", "web1")
    assert info["state"] == "running"
    UUID(info["uuid"])
    assert stat.S_IMODE(os.stat(info["control_socket"]).st_mode) == 0o660
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == RC_SUCCESS
    code, rest = execute(info, GET_RANDOM_8)
    assert (code, len(rest)) == (RC_SUCCESS, 10)
    worker = daemon.control("info", "web1")["worker"]
    assert worker["tpm"] == "on"
    assert worker["commands"] >= 2
    assert worker["sandbox"]["mode"] == "require"
    assert all(set(d) == {"0"} for d in daemon.control("pcr", "web1")["banks"]["sha256"]["0"])


def test_a_second_create_is_refused_and_touches_nothing(daemon: Daemon) -> None:
    uuid = "7d1f2b30-8f2e-4a55-9a7c-0123456789ab"
    daemon.control("create", "web1", "--uuid", uuid)
    directory = instance_directory(daemon, "web1")
    until((directory / "condition.json").exists)
    files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert len(files) == 8
    for arguments in (["web1"], ["web2", "--uuid", uuid], [uuid]):
        result = daemon.ctl("create", *arguments)
        assert result.returncode == 6
        assert "already" in result.stderr
    assert {path: path.read_bytes() for path in files} == files
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["web1"]


def test_without_start_nothing_is_served_until_start(daemon: Daemon) -> None:
    info = daemon.control("create", "web1", "--no-start")
    assert (info["state"], info["autostart"]) == ("stopped", False)
    assert not os.path.exists(info["control_socket"])
    assert daemon.ctl("pcr", "web1").returncode == 7
    assert daemon.control("start", "web1")["state"] == "running"
    power_on(info)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_of_the_daemon_does_not_disturb_a_running_tpm(
    daemon: Daemon, number: int
) -> None:
    info = daemon.control("create", "web1")
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == RC_SUCCESS
    pid = daemon.control("info", "web1")["worker"]["pid"]
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(info["data_socket"])
        daemon.end(number)
        assert execute(info, GET_RANDOM_8)[0] == RC_SUCCESS  # nobody supervises now
        daemon.start()
        connected.sendall(GET_RANDOM_8)
        assert connected.recv(100)[6:10] == bytes(4)
    found = daemon.control("info", "web1")
    assert found["state"] == "running"
    assert found["worker"]["pid"] == pid
    assert found["worker"]["tpm"] == "on"
    assert daemon.control("stop", "web1")["state"] == "stopped"
    assert not os.path.exists(info["control_socket"])
    assert daemon.control("start", "web1")["state"] == "running"


def test_after_a_reboot_what_was_running_is_served_again(daemon: Daemon) -> None:
    for name in ("running", "stopped", "temporarily"):
        daemon.control("create", name)
    daemon.control("stop", "stopped")
    daemon.control("stop", "temporarily", "--temporary")
    pid = daemon.control("info", "running")["worker"]["pid"]
    daemon.end()
    ended = os.pidfd_open(pid)
    signal.pidfd_send_signal(ended, signal.SIGKILL)
    os.close(ended)
    daemon.start()
    info = daemon.until("running", lambda info: info if info["state"] == "running" else None)
    assert info["worker"]["pid"] != pid
    power_on(info)
    daemon.until("temporarily", lambda info: info["state"] == "running")
    assert daemon.control("info", "stopped")["state"] == "stopped"


def test_a_workers_crash_concerns_its_instance_alone(daemon: Daemon) -> None:
    victim, other = daemon.control("create", "victim"), daemon.control("create", "other")
    for info in (victim, other):
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == RC_SUCCESS
    pid = daemon.control("info", "victim")["worker"]["pid"]
    os.kill(pid, signal.SIGKILL)
    assert execute(other, GET_RANDOM_8)[0] == RC_SUCCESS
    again = daemon.until(
        "victim",
        lambda info: info if info["worker"] and info["worker"]["pid"] != pid else None,
    )
    assert again["worker"]["tpm"] == "off"
    assert "ended unexpectedly (SIGKILL)" in again["reason"]
    assert "its TPM is off until its machine is reset" in again["reason"]
    assert execute(again, GET_RANDOM_8)[0] == RC_FAILURE
    power_on(again)
    assert execute(again, STARTUP_CLEAR)[0] == RC_SUCCESS
    assert "unexpectedly" not in daemon.control("info", "other")["reason"]


def test_a_lost_zygote_is_replaced(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    children = (
        Path(f"/proc/{daemon.process()}/task/{daemon.process()}/children").read_text().split()
    )
    (zygote,) = map(int, children)
    os.kill(zygote, signal.SIGKILL)
    assert daemon.control("create", "web2")["state"] == "running"
    assert daemon.control("info", "web1")["state"] == "running"


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "swap", "remove", "bomb", "bomb in a record"]
)
def test_a_damaged_state_is_refused_and_left_alone(daemon: Daemon, damage: str) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("create", "web2", "--no-start")
    nvram = instance_directory(daemon, "web1") / "tpm" / "nvram"
    content = nvram.read_bytes()
    match damage:
        case "flip":
            for place in PLACES:
                overwrite(nvram, bytes([content[place + 400] ^ 1]), place + 400)
        case "truncate":
            os.truncate(nvram, 300)
        case "swap":
            nvram.write_bytes((instance_directory(daemon, "web2") / "tpm" / "nvram").read_bytes())
        case "bomb":
            overwrite(nvram, BOMB)
            overwrite(nvram, BOMB, PLACES[1])
        case "bomb in a record":
            put(nvram, BOMB)
    content = nvram.read_bytes()
    if damage == "remove":
        nvram.unlink()
    result = daemon.ctl("start", "web1", "--json")
    assert json.loads(result.stdout)["code"] in ("state-refused", "key-unavailable")
    assert result.returncode in (8, 9)
    info = daemon.control("info", "web1")
    assert info["state"] in ("failed", "locked")
    assert info["reason"]
    assert not os.path.exists(info["control_socket"])
    if damage == "remove":
        assert not nvram.exists()  # never a silently blank TPM
    else:
        assert nvram.read_bytes() == content
    assert daemon.control("start", "web2")["state"] == "running"


def test_a_missing_key_locks_until_it_is_back(daemon: Daemon) -> None:
    info = daemon.control("create", "web1")
    daemon.control("stop", "web1", "--temporary")
    daemon.end()
    keyring = daemon.state / "keyring"
    keyring.rename(daemon.directory / "elsewhere")
    daemon.start()
    info = daemon.until("web1", lambda info: info if info["state"] == "locked" else None)
    assert "keyring" in info["reason"]
    assert daemon.ctl("start", "web1").returncode == 8
    assert daemon.ctl("create", "web2").returncode == 8
    assert daemon.control("capabilities")["create"].startswith("unavailable: ")
    (daemon.directory / "elsewhere").rename(keyring)
    assert daemon.control("start", "web1")["state"] == "running"


def test_without_a_key_provider_nothing_is_created(root: Path) -> None:
    with running(root, "key_providers: []") as daemon:
        result = daemon.ctl("create", "web1")
        assert result.returncode == 8
        assert "no key provider is configured" in result.stderr
        create = daemon.control("capabilities")["create"]
        assert create == "unavailable: no key provider is configured"
        assert list((daemon.state / "instances").iterdir()) == []


def test_delete_removes_a_stopped_instance_for_good(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    directory = instance_directory(daemon, "web1")
    refused = daemon.ctl("delete", "web1")
    assert refused.returncode == 11
    assert "unrecoverable" in refused.stderr
    assert "Add --yes" in refused.stderr
    assert json.loads(daemon.ctl("delete", "web1", "--json").stdout)["code"] == "unconfirmed"
    assert daemon.ctl("delete", "web1", "--yes").returncode == 7
    assert daemon.control("info", "web1")["state"] == "running"
    daemon.control("stop", "web1")
    deletion = daemon.control("delete", "web1", "--yes")
    assert (deletion["deleted"], deletion["secrets_remain_in"]) == ("web1", [])
    assert [key["destroyed"] for key in deletion["keys"]] == [False]
    assert "shared by its instances" in deletion["keys"][0]["reason"]
    assert not directory.exists()
    assert list((daemon.state / "instances").iterdir()) == []
    assert daemon.ctl("info", "web1").returncode == 5
    assert daemon.control("create", "web1")["state"] == "running"


def test_a_second_daemon_on_the_same_directory_is_refused(daemon: Daemon) -> None:
    info = daemon.control("create", "web1")
    command = [sys.executable, "-m", "vtpmd.cli.vtpmd", "--config", str(daemon.configuration)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 75
    assert f"in use by process {daemon.process()}" in result.stderr
    assert "Traceback" not in result.stderr
    power_on(info)
    assert daemon.control("info", "web1")["state"] == "running"


def test_a_second_daemon_on_the_same_sockets_is_refused(daemon: Daemon, root: Path) -> None:
    other = root / "other.yaml"
    other.write_text(f"state_dir: {root}/other\nruntime_dir: {daemon.runtime}\n")
    command = [sys.executable, "-m", "vtpmd.cli.vtpmd", "--config", str(other)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 75
    assert "another process listens on" in result.stderr
    assert "Traceback" not in result.stderr
    assert daemon.control("list") == {"instances": []}


def test_a_crash_in_the_middle_leaves_nothing_half_visible(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    daemon.end()
    instances = daemon.state / "instances"
    for name in (".new-7d1f2b30-8f2e-4a55-9a7c-0123456789ab", ".old-whatever"):
        (instances / name / "tpm").mkdir(parents=True, mode=0o700)
        (instances / name).chmod(0o700)
        (instances / name / "tpm" / "nvram").write_bytes(b"half")
    daemon.start()
    assert [info["name"] for info in daemon.control("list")["instances"]] == ["web1"]
    assert len(list(instances.iterdir())) == 1


def test_broken_metadata_is_shown_and_kept(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    directory = instance_directory(daemon, "web1")
    (directory / "meta.json").write_text('{"format": 99}')
    daemon.restart()
    (info,) = daemon.control("list")["instances"]
    assert (info["name"], info["state"]) == (directory.name, "failed")
    assert "newer vtpmd" in info["reason"]
    assert daemon.ctl("start", directory.name).returncode == 9
    assert daemon.ctl("stop", directory.name).returncode == 0
    assert (directory / "meta.json").read_text() == '{"format": 99}'


def test_broken_metadata_does_not_hide_a_worker_that_lives(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    directory = instance_directory(daemon, "web1")
    daemon.end()
    (directory / "meta.json").write_text("{}")
    daemon.start()
    assert daemon.control("info", directory.name)["state"] == "running"
    stopped = daemon.control("stop", directory.name)
    assert stopped["state"] == "failed"
    assert "does not have format 1" in stopped["reason"]
    assert stopped["worker"] is None
    refused = daemon.ctl("clone", directory.name, "web2", "--policy", "replace", "--yes")
    assert refused.returncode == 9
    assert "does not have format 1" in refused.stderr


def test_something_in_the_way_of_a_socket_is_not_removed(daemon: Daemon) -> None:
    info = daemon.control("create", "web1", "--no-start")
    path = Path(info["control_socket"])
    path.write_text("precious")
    result = daemon.ctl("start", "web1")
    assert result.returncode == 10
    assert "is not a socket" in result.stderr
    assert path.read_text() == "precious"


def test_no_secret_in_log_or_process_list(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    keyring = (daemon.state / "keyring").read_bytes()
    log = daemon.log_file.read_bytes()
    assert b"back it up" in log
    assert str(daemon.state / "keyring").encode() in log
    windows = {keyring[i : i + 24] for i in range(len(keyring) - 24)}
    assert not any(window in log for window in windows)
    assert not any(window.hex().encode() in log for window in windows)


def test_an_unprivileged_worker_process_is_left_by_the_supervisor(daemon: Daemon) -> None:
    """The worker has no descriptor of another instance, the admin socket or the lock."""
    daemon.control("create", "web1")
    daemon.control("create", "web2")
    pid = daemon.control("info", "web2")["worker"]["pid"]
    targets = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    uuid = daemon.control("info", "web2")["uuid"]
    files = [target for target in targets if target.startswith(str(daemon.directory))]
    assert all(uuid in target or target == str(daemon.log_file) for target in files), files


def test_sigint_ends_the_daemon_in_good_order(daemon: Daemon) -> None:
    daemon.control("create", "web1")
    assert daemon.end(signal.SIGINT) == 0
    assert not (daemon.runtime / "admin.sock").exists()
    daemon.start()
    until(lambda: daemon.control("info", "web1")["worker"])
