"""Settings of an instance that are changed, also while a real worker serves it."""

import errno
import os
import signal
import socket
import stat
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.supervisor.stage import Stage
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import CloneRequest, CreateRequest, RestoreRequest, SetRequest, StopRequest
from vtpmd.kms.errors import KeyUnavailableError
from vtpmd.linux import sockets
from vtpmd.operations.backup import backup
from vtpmd.operations.clone import clone
from vtpmd.operations.create import create
from vtpmd.operations.info import info
from vtpmd.operations.list import list_
from vtpmd.operations.restore import restore
from vtpmd.operations.set import SETTINGS, set_
from vtpmd.operations.start import start
from vtpmd.operations.stop import stop
from vtpmd.supervisor import worker
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.registry import Entry
from vtpmd.supervisor.worker import Worker

ALICE, BOB = 65532, 65533
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="giving files away takes root")


def found(path: str) -> tuple[int, int, int]:
    """Mode, owner and group of a socket."""
    status = Path(path).stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid


def stored(stage: Stage) -> list[tuple[str | None, str | None]]:
    return [(each.metadata.owner, each.metadata.mode) for each in stage.host.registry.load()]


def test_every_setting_is_a_field_of_request_and_metadata() -> None:
    assert set(SETTINGS) == {each.name for each in fields(SetRequest)}
    assert set(SETTINGS) <= {each.name for each in fields(Metadata)}


async def test_an_instance_is_made_with_an_owner_and_given_to_another(stage: Stage) -> None:
    request = CreateRequest(name="web1", owner=f"{ALICE}:{BOB}", data_socket=True)
    made = await create(stage.fleet, request)
    assert made.access is not None
    assert made.data_socket is not None
    assert (made.access.owner, made.access.group) == (str(ALICE), str(BOB))
    assert (made.access.mode, made.access.configured, made.access.shared) == ("0660", False, False)
    for path in (made.control_socket, made.data_socket):
        assert found(path) == (0o660, ALICE, BOB)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(made.control_socket)
        changed = await set_(stage.fleet, "web1", SetRequest(owner=str(BOB), mode="0600"))
        client.send(bytes([0, 0, 0, 1]))
        client.setblocking(False)
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(client)
        assert len(client.recv(100)) == 8  # it stays connected
    assert changed.access is not None
    assert changed.access.group is None
    for path in (made.control_socket, made.data_socket):
        assert found(path) == (0o600, BOB, os.getegid())
    assert stored(stage) == [(str(BOB), "0600")]
    (listed,) = (await list_(stage.fleet)).instances
    assert listed.access == changed.access
    configured = await set_(stage.fleet, "web1", SetRequest(owner=""))
    assert found(made.control_socket) == (0o600, os.geteuid(), os.getegid())
    assert configured.access is not None
    assert not configured.access.configured
    configured = await set_(stage.fleet, "web1", SetRequest(mode=""))
    assert found(made.control_socket) == (0o660, os.geteuid(), os.getegid())
    assert configured.access is not None
    assert configured.access.configured
    assert stored(stage) == [(None, None)]


async def test_what_is_set_while_it_is_stopped_holds_when_it_starts(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    await set_(stage.fleet, "web1", SetRequest(owner=str(ALICE)))
    await start(stage.fleet, "web1")
    assert found(made.control_socket)[:2] == (0o660, ALICE)
    await stop(stage.fleet, "web1", StopRequest())
    await set_(stage.fleet, str(made.uuid), SetRequest(mode="0640"))
    await start(stage.fleet, "web1")
    assert found(made.control_socket)[:2] == (0o640, ALICE)


async def test_what_is_set_while_its_key_is_waited_for_holds(stage: Stage) -> None:
    """The order of the worker is given after the key; the sockets are there before."""
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    stage.provider.fault = KeyUnavailableError("the KMS is down", retry=True)
    with pytest.raises(OperationError):
        await start(stage.fleet, "web1")
    await set_(stage.fleet, "web1", SetRequest(owner=str(ALICE)))
    assert found(made.control_socket)[:2] == (0o660, ALICE)
    stage.provider.fault = None
    await stage.until("web1", "running")
    assert found(made.control_socket)[:2] == (0o660, ALICE)


async def test_what_is_set_while_a_worker_starts_is_told_to_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its order and its first word."""
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    asked: list[str] = []
    instance, ask = stage.fleet.find("web1"), Worker.ask

    async def ask_and_change(worker: Worker, request: Any, *rest: Any) -> Any:
        answer: Any = await ask(worker, request, *rest)
        asked.append(type(request).__name__)
        if asked == ["Serve"]:
            await instance.note(owner=str(ALICE))
        return answer

    monkeypatch.setattr(Worker, "ask", ask_and_change)
    await start(stage.fleet, "web1")
    assert asked[:2] == ["Serve", "Admit"]


async def test_a_worker_that_does_not_take_it_is_told_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may still admit the former owner: that is not said to be done."""
    made = await create(stage.fleet, CreateRequest(name="web1", owner=str(ALICE)))
    assert made.worker is not None
    os.kill(made.worker.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(worker, "REPLY_TIMEOUT", 0.05)
            with pytest.raises(OperationError, match="stop the instance with --force") as refused:
                await set_(stage.fleet, "web1", SetRequest(owner=str(BOB)))
    finally:
        os.kill(made.worker.pid, signal.SIGCONT)
    assert refused.value.problem is problems.UNAVAILABLE


@pytest.mark.parametrize("owner", ["no-such-user", "0:no-such-group", "1:"])
async def test_an_owner_that_is_not_there_is_refused_and_nothing_changes(
    stage: Stage, owner: str
) -> None:
    with pytest.raises(OperationError, match="owner: there is no") as refused:
        await create(stage.fleet, CreateRequest(name="web1", owner=owner))
    assert refused.value.problem is problems.INVALID
    made = await create(stage.fleet, CreateRequest(name="web1", owner=str(ALICE)))
    with pytest.raises(OperationError, match="owner: there is no") as refused:
        await set_(stage.fleet, "web1", SetRequest(owner=owner, mode="0600"))
    assert refused.value.problem is problems.INVALID
    with pytest.raises(OperationError, match="owner: there is no"):
        await clone(stage.fleet, "web1", CloneRequest(name="web2", owner=owner))
    assert (await info(stage.fleet, "web1")).access == made.access
    assert found(made.control_socket)[:2] == (0o660, ALICE)
    assert stored(stage) == [(str(ALICE), None)]


async def test_nothing_to_set_is_refused(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    with pytest.raises(
        OperationError, match="nothing is set: one of owner, mode, autostart, data_socket, labels"
    ):
        await set_(stage.fleet, "web1", SetRequest())


async def test_an_owner_who_is_gone_fails_the_instance_until_another_is_set(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", start=False))
    await stage.fleet.find("web1").note(owner="no-such-user")
    with pytest.raises(OperationError, match="there is no user 'no-such-user'") as refused:
        await start(stage.fleet, "web1")
    assert refused.value.problem is problems.UNAVAILABLE
    failed = await info(stage.fleet, "web1")
    assert (failed.state, "`vtpmctl set web1 --owner` gives" in failed.reason) == ("failed", True)
    assert failed.access is not None
    assert failed.access.owner == "no-such-user"
    await set_(stage.fleet, "web1", SetRequest(owner=str(ALICE)))
    assert (await start(stage.fleet, "web1")).state == "running"
    assert found(made.control_socket)[1] == ALICE


async def test_sockets_that_cannot_be_given_away_leave_all_as_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1", owner=str(ALICE), data_socket=True))
    assert made.data_socket is not None
    chown = os.chown

    def refuse(path: Path, uid: int, gid: int, **options: bool) -> None:
        if (str(path), uid) == (made.data_socket, BOB):
            raise OSError(5, "Input/output error")
        chown(path, uid, gid, **options)

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(OperationError, match="Input/output error"):
        await set_(stage.fleet, "web1", SetRequest(owner=str(BOB)))
    for path in (made.control_socket, made.data_socket):
        assert found(path)[1] == ALICE
    assert stored(stage) == [(str(ALICE), None)]


async def test_a_file_system_without_lists_is_told_with_what_to_do(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    await create(stage.fleet, CreateRequest(name="web1", start=False))
    with monkeypatch.context() as patch:
        patch.setattr(sockets, "grant", refuse)
        with pytest.raises(OperationError, match=r"choose a group that .* or run it as root"):
            await start(stage.fleet, "web1")
    assert (await info(stage.fleet, "web1")).state == "failed"
    assert (await start(stage.fleet, "web1")).state == "running"


async def test_a_clone_has_the_owner_of_its_original_unless_it_gets_its_own(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="a", owner=str(ALICE), mode="0600", start=False))
    for request, expected in (
        (CloneRequest(name="b", start=False), (str(ALICE), "0600")),
        (CloneRequest(name="c", owner=str(BOB), start=False), (str(BOB), "0600")),
        (CloneRequest(name="d", owner="", mode="", start=False), (None, None)),
    ):
        await clone(stage.fleet, "a", request)
        metadata = stage.fleet.find(request.name).metadata
        assert (metadata.owner, metadata.mode) == expected


async def test_a_bundle_lets_nobody_in(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="a", owner=str(ALICE), start=False))
    bundle = await backup(stage.fleet, "a")
    await set_(stage.fleet, "a", SetRequest(owner=str(BOB), mode="0600"))
    for request, expected in (
        (RestoreRequest(replace=True, confirmed=True), (str(BOB), "0600")),
        (RestoreRequest(replace=True, confirmed=True, owner=str(ALICE)), (str(ALICE), "0600")),
        (RestoreRequest(replace=True, confirmed=True, owner="", mode=""), (None, None)),
    ):
        await restore(stage.fleet, request, bundle)
        metadata = stage.fleet.find("a").metadata
        assert (metadata.owner, metadata.mode) == expected
    stage.host.registry.remove(made.uuid)
    stage.fleet.drop(made.uuid)
    await restore(stage.fleet, RestoreRequest(), bundle)
    assert stored(stage) == [(None, None)]


async def test_what_has_no_readable_metadata_is_left_alone(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="a", start=False))
    metadata = stage.fleet.find("a").metadata
    stage.fleet.drop(made.uuid)
    stage.fleet.add(Entry(replace(metadata, name="b"), "meta.json is not JSON"))
    with pytest.raises(OperationError, match=r"meta\.json is not JSON") as refused:
        await set_(stage.fleet, "b", SetRequest(owner=str(ALICE)))
    assert refused.value.problem is problems.STATE_REFUSED
    assert stored(stage) == [(None, None)]


async def test_labels_are_added_and_removed(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    found = await set_(stage.fleet, "web1", SetRequest(labels={"tier": "web", "a/b": "1"}))
    assert found.labels == {"a/b": "1", "tier": "web"}
    found = await set_(stage.fleet, "web1", SetRequest(labels={"tier": "", "x": "ü"}))
    assert found.labels == {"a/b": "1", "x": "ü"}
    (listed,) = (await list_(stage.fleet)).instances
    assert listed.labels == found.labels
    (entry,) = stage.host.registry.load()
    assert entry.metadata.labels == (("a/b", "1"), ("x", "ü"))


@pytest.mark.parametrize(
    "labels",
    [{"": "x"}, {"a b": "x"}, {"a": "x\n"}, {"a": "x" * 256}, {f"l{n}": "x" for n in range(33)}],
)
async def test_labels_are_bounded(stage: Stage, labels: dict[str, str]) -> None:
    await create(stage.fleet, CreateRequest(name="web1", start=False))
    with pytest.raises(OperationError, match="labels: ") as refused:
        await set_(stage.fleet, "web1", SetRequest(labels=labels, owner="0"))
    assert refused.value.problem is problems.INVALID
    assert stored(stage) == [(None, None)]


async def test_whether_it_starts_with_the_daemon(stage: Stage) -> None:
    await create(stage.fleet, CreateRequest(name="web1"))
    found = await set_(stage.fleet, "web1", SetRequest(autostart=False))
    assert (found.state, found.autostart) == ("running", False)
    assert (await set_(stage.fleet, "web1", SetRequest(autostart=True))).autostart


async def test_a_data_socket_comes_and_goes_while_it_is_stopped(stage: Stage) -> None:
    made = await create(stage.fleet, CreateRequest(name="web1"))
    assert made.data_socket is None
    with pytest.raises(OperationError) as refused:
        await set_(stage.fleet, "web1", SetRequest(data_socket=True, owner="0"))
    assert refused.value.problem is problems.RUNNING_CONFLICT
    assert stored(stage) == [(None, None)]
    assert (await set_(stage.fleet, "web1", SetRequest(data_socket=False))).state == "running"
    await stop(stage.fleet, "web1", StopRequest())
    found = await set_(stage.fleet, "web1", SetRequest(data_socket=True))
    assert found.data_socket is not None
    await start(stage.fleet, "web1")
    assert os.access(found.data_socket, os.F_OK)
    await stop(stage.fleet, "web1", StopRequest())
    assert (await set_(stage.fleet, "web1", SetRequest(data_socket=False))).data_socket is None
