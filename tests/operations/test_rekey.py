"""Rekey: running and stopped, shallow and deep, refused, and cut short at any point."""

import json
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bench.encoding import NV_READ, OWNER, PASSWORD, command
from tests.faults.machine import INDEX, INDEX_SIZE, Machine
from tests.faults.tracing import calls, killing, needs_tracing, traced
from tests.peers.client import CMD_INIT, Control, DataSocket
from tests.peers.vtpmd import COMMANDS, Vtpmd, VtpmdInstance
from tests.state_files import envelope_of
from tests.supervisor.harness import (
    CMD_STORE_VOLATILE,
    GET_RANDOM_8,
    STARTUP_CLEAR,
    Daemon,
    control,
    execute,
    power_on,
)
from tests.supervisor.stage import Stage
from vtpmd.api import names
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CreateRequest, RekeyRequest, StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.kms.local.keyring import parse as parse_keyring
from vtpmd.operations.create import create
from vtpmd.operations.info import info as info_of
from vtpmd.operations.rekey import rekey
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.storage.envelope import Envelope
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.keys import Keys


def envelope(daemon: Daemon, name: str, file: str = "nvram") -> Envelope:
    uuid = daemon.control("info", name)["uuid"]
    return envelope_of(daemon.state / "instances" / uuid / "tpm" / file)


def rotate(daemon: Daemon) -> str:
    """A new active KEK, as another process would put it there; its id."""
    path = daemon.state / "keyring"
    ring = parse_keyring(path.read_bytes()).rotated(now=1)
    path.write_bytes(ring.encode())
    return ring.active.id


@pytest.mark.parametrize("running", [True, False])
def test_a_shallow_rekey_wraps_the_same_key_anew(daemon: Daemon, running: bool) -> None:
    info = daemon.control("create", "web1", *(() if running else ("--no-start",)))
    before = envelope(daemon, "web1")
    assert daemon.control("rekey", "web1")["changed"] is False
    if running:
        power_on(info)
        assert execute(info, STARTUP_CLEAR)[0] == 0
        before = envelope(daemon, "web1")
    kek = rotate(daemon)
    result = daemon.control("rekey", "web1")
    assert result["changed"] is True
    assert [key["key_version"] for key in result["keys"]] == [kek]
    after = envelope(daemon, "web1")
    assert after.header.dek_id == before.header.dek_id
    assert [slot.key_version for slot in after.slots] == [kek]
    assert daemon.control("info", "web1")["keys"] == result["keys"]
    assert "already under" in daemon.ctl("rekey", "web1").stdout
    if running:
        assert execute(info, GET_RANDOM_8)[0] == 0
        daemon.control("stop", "web1")
        assert [slot.key_version for slot in envelope(daemon, "web1").slots] == [kek]
    assert daemon.control("start", "web1")["state"] == "running"


@pytest.mark.parametrize("running", [True, False])
def test_a_deep_rekey_changes_the_key_of_all_stored_state(daemon: Daemon, running: bool) -> None:
    info = daemon.control("create", "web1")
    power_on(info)
    assert execute(info, STARTUP_CLEAR)[0] == 0
    assert control(info, CMD_STORE_VOLATILE) == bytes(4)
    if not running:
        daemon.control("stop", "web1")
    before = envelope(daemon, "web1")
    assert daemon.control("rekey", "web1", "--deep")["changed"] is True
    after = envelope(daemon, "web1")
    assert after.header.dek_id != before.header.dek_id
    assert envelope(daemon, "web1", "volatile").header.dek_id == after.header.dek_id
    if running:
        assert execute(info, GET_RANDOM_8)[0] == 0
        daemon.control("stop", "web1")
    info = daemon.control("start", "web1")
    power_on(info)
    assert execute(info, GET_RANDOM_8)[0] == 0  # resumed: no TPM2_Startup was needed


def test_many_are_rekeyed_and_the_rest_later(daemon: Daemon) -> None:
    for name in ("web1", "web2", "web3"):
        daemon.control("create", name, "--no-start")
    rotate(daemon)
    daemon.control("rekey", "web2")
    lines = daemon.ctl("rekey", "--all").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["[1/3]", "web1:"],
        ["[2/3]", "web2:"],
        ["[3/3]", "web3:"],
    ]
    assert ["already" in line for line in lines] == [False, True, False]
    answer = daemon.control("rekey", "--provider", "local", "--deep")
    assert [result["changed"] for result in answer["rekeyed"]] == [True] * 3
    since = answer["rekeyed"][0]["keys"][0]["created"]
    again = daemon.control("rekey", "--all", "--deep", "--since", since)
    assert [result["changed"] for result in again["rekeyed"]] == [False] * 3
    assert daemon.control("rekey", "--provider", "unknown") == {"rekeyed": [], "failed": []}


def test_one_that_fails_keeps_its_key_and_stops_no_other(daemon: Daemon) -> None:
    daemon.control("create", "web1", "--no-start")
    daemon.control("create", "web2", "--no-start")
    uuid = daemon.control("info", "web1")["uuid"]
    os.truncate(daemon.state / "instances" / uuid / "tpm" / "nvram", 100)
    rotate(daemon)
    result = daemon.ctl("rekey", "--all", "--json")
    answer = json.loads(result.stdout)
    assert result.returncode == 9
    assert [each["name"] for each in answer["rekeyed"]] == ["web2"]
    assert [each["code"] for each in answer["failed"]] == ["state-refused"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "Give names"),
        (["web1", "--all"], "Give names"),
        (["web1", "--since", "yesterday"], "is no time with a zone"),
        (["web1", "--since", "2026-05-04"], "is no time with a zone"),
    ],
)
def test_what_makes_no_sense_is_refused(daemon: Daemon, arguments: list[str], text: str) -> None:
    result = daemon.ctl("rekey", *arguments)
    assert result.returncode == 2
    assert text in result.stderr


async def test_a_key_moves_to_another_provider(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    result = await rekey(stage.fleet, "web1", RekeyRequest(provider="other"))
    assert [(key.provider, key.purpose) for key in result.keys] == [("other", "primary")]
    assert (await info_of(stage.fleet, "web1")).provider == "other"
    await stop(stage.fleet, "web1", StopRequest())
    stage.provider.forget()
    assert (await start(stage.fleet, "web1")).state == "running"


async def test_without_versions_a_key_may_be_another_and_is_taken(stage: Stage) -> None:
    stage.provider.versioned = False
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.provider.created = 2
    assert (await rekey(stage.fleet, "web1", RekeyRequest())).changed
    (slot,) = stage.host.registry.envelope(stage.fleet.find("web1").metadata.uuid).slots
    assert slot.created == 2


async def test_one_new_slot_does_not_make_up_for_an_old_one(stage: Stage) -> None:
    providers = {"main": stage.provider, "other": stage.other}
    fleet = Fleet(replace(stage.host, keys=Keys(providers, "main", "other")))
    stage.provider.created, stage.other.created = 200, 100
    await create(fleet, CreateRequest(name="web1", start=False))
    for since, changed in ((100, False), (101, True), (200, True), (201, True)):
        request = RekeyRequest(deep=True, since=datetime.fromtimestamp(since, UTC))
        assert (await rekey(fleet, "web1", request)).changed is changed
    stage.provider.created, stage.other.created = 100, 200
    await rekey(fleet, "web1", RekeyRequest(deep=True))
    request = RekeyRequest(deep=True, since=datetime.fromtimestamp(150, UTC))
    assert (await rekey(fleet, "web1", request)).changed


@pytest.mark.parametrize("deep", [False, True])
async def test_without_the_new_key_the_old_one_stays(stage: Stage, deep: bool) -> None:
    info = await create(stage.fleet, CreateRequest(name="web1"))
    stage.other.fault = KeyUnavailableError("no quorum", retry=True)
    with pytest.raises(OperationError, match="no quorum"):
        await rekey(stage.fleet, "web1", RekeyRequest(provider="other", deep=deep))
    assert (await info_of(stage.fleet, "web1")).keys == info.keys
    await stop(stage.fleet, "web1", StopRequest())
    assert (await start(stage.fleet, "web1")).state == "running"


async def test_every_use_of_a_key_is_recorded_and_no_key(stage: Stage) -> None:
    info = await create(stage.fleet, CreateRequest(name="web1"))
    await rekey(stage.fleet, "web1", RekeyRequest(deep=True))
    stage.provider.version += 1
    await rekey(stage.fleet, "web1", RekeyRequest())
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError):
        await rekey(stage.fleet, "web1", RekeyRequest())
    written = [json.loads(line) for line in (stage.directory / "audit").read_text().splitlines()]
    lines = [line for line in written if line.get("uuid") == str(info.uuid)]
    assert [(line["operation"], line["outcome"]) for line in lines] == [
        ("wrap", "done"),
        ("unwrap", "done"),
        ("wrap", "done"),
        ("rewrap", "done"),
        ("rewrap", "failed"),
        ("unwrap", "failed"),
    ]
    others = [line for line in written if line not in lines]
    authority = others[0]["uuid"]  # whose key is wrapped once, when it is made
    assert [line["event"] for line in others[:2]] == ["key-use", "authority-made"]
    assert {line["event"] for line in others[2:]} == {"certificate-issued"}
    assert others[1]["uuid"] == authority != str(info.uuid)
    assert lines[3]["key_version"] == "2"
    assert "the KMS is down" in lines[-1]["reason"]


# --- cut short ----------------------------------------------------------------------------------

PLACES = {"pwritev2"}
READ_INDEX = command(NV_READ, (OWNER, INDEX), struct.pack(">HH", INDEX_SIZE, 0), PASSWORD)
CONTENT = b"\x5a" * INDEX_SIZE


@pytest.fixture
def host(short_path: Path) -> Iterator[Vtpmd]:
    daemon = Vtpmd(short_path)
    yield daemon
    daemon.close()


def assert_resumes(instance: VtpmdInstance) -> None:
    """After _TPM_Init volatile and permanent state are there: no TPM2_Startup, and the content."""
    with Control(instance.control) as control:
        control.command(CMD_INIT, bytes(4))
    answer = DataSocket(instance.data).execute(READ_INDEX)
    assert answer[6:10] == bytes(4)
    assert CONTENT in answer


def noticed(instance: VtpmdInstance, killed: int) -> None:
    """Wait until the supervisor knows that a worker was killed."""
    instance.wait_for(
        lambda info: (
            info["state"] != "running" or (info["worker"] and info["worker"]["pid"] != killed)
        ),
        "the end of its worker noticed",
    )


@pytest.mark.slow
@needs_tracing
def test_killed_at_any_system_call_all_state_opens(host: Vtpmd, tmp_path: Path) -> None:
    instance = host.create("rekeyed")
    log = tmp_path / "strace"
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(CONTENT)
        machine.control.command(CMD_STORE_VOLATILE)
    with traced(instance.process(), log):
        host.control("rekey", instance.name, "--deep")
    points = [call for call in calls(log) if call[0] in PLACES | {"fallocate", "sendto"}]
    assert {name for name, _ in points} >= PLACES
    outcomes = set()
    for point in points:
        killed, before = instance.process(), envelope_of(instance.nvram).header.dek_id
        with traced(killed, log, *killing(point)):
            host.request("POST", f"/instances/{instance.name}/rekey", {"deep": True})
        assert calls(log)[-1] == point
        noticed(instance, killed)
        assert instance.start()[0] == 200
        assert_resumes(instance)
        outcomes.add(envelope_of(instance.nvram).header.dek_id == before)
    assert outcomes == {True, False}


def test_a_daemon_killed_while_it_rekeys_is_followed_by_one_that_goes_on(host: Vtpmd) -> None:
    instances = [host.create(f"web{number}") for number in range(4)]
    keks = [envelope_of(instance.nvram).header.dek_id for instance in instances]
    arguments = [str(COMMANDS / "vtpmctl"), "--socket", str(host.admin), "rekey", "--all", "--deep"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as rekeying:
        assert rekeying.stdout is not None
        assert b"[1/4]" in rekeying.stdout.readline()
        host.end(signal.SIGKILL)
        assert rekeying.wait(60) in (0, names.EXIT_UNREACHABLE)
    host.start()
    answer = host.control("rekey", "--all", "--deep")
    assert len(answer["rekeyed"]) == 4
    for instance, old in zip(instances, keks, strict=True):
        assert envelope_of(instance.nvram).header.dek_id != old
        instance.restart()
        with Machine(instance) as machine:
            machine.define_indices()
