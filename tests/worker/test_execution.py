"""What a worker makes of an engine that fails."""

import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.worker.harness import opened
from vtpmd.swtpm.host import Connection, ControlError
from vtpmd.swtpm.table import BlobType
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC, PT, RH
from vtpmd.worker.execution import UnstoredError
from vtpmd.worker.instance import Instance
from vtpmd.worker.sources import entropy, now

STARTUP = struct.pack(">HIIH", 0x8001, 12, CC.STARTUP, 0)
CLEAR_CONTROL = struct.pack(
    ">HIIIIIHBHB", 0x8002, 28, CC.CLEAR_CONTROL, RH.PLATFORM, 9, RH.RS_PW, 0, 0, 0, 1
)
PERMANENT = struct.pack(">HIIIII", 0x8001, 22, CC.GET_CAPABILITY, 6, PT.PERMANENT, 1)
DISABLE_CLEAR = 1 << 8
TOOL = Connection()


def test_a_defect_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what the command has changed before, neither here after INIT nor anywhere else."""
    engine = Engine.manufacture("default-v1", ["sha256"], entropy, now)
    with opened(tmp_path) as state:
        state.create(engine.permanent())
        events: list[str] = []
        instance = Instance(engine, state, lambda kind, _: events.append(kind))
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        with monkeypatch.context() as broken:
            _break_after_the_change(broken, CC.CLEAR_CONTROL)
            assert instance.execution.execute(CLEAR_CONTROL, 0)[6:] == RC.FAILURE.to_bytes(4)
        assert events[-1] == "failure-mode"
        with pytest.raises(ControlError):
            instance.migration.store_volatile()
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        assert not int.from_bytes(instance.execution.execute(PERMANENT, 0)[-4:]) & DISABLE_CLEAR


@contextmanager
def _unwritable() -> Iterator[None]:
    """No file can be written to in here."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _break_after_the_change(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    spec = COMMANDS[code]

    def action(*arguments: object) -> None:
        spec.action(*arguments)
        raise ZeroDivisionError

    values = {name: getattr(spec, name) for name in type(spec).__slots__}
    monkeypatch.setitem(COMMANDS, code, type(spec)(**values | {"action": action}))


def test_the_text_of_a_defect_is_in_no_event(tmp_path: Path) -> None:
    with _instance(tmp_path) as (instance, events):
        try:
            raise ValueError("a secret")
        except ValueError as error:
            instance.execution.note_defect(error)
    kind, detail = events[-1]
    assert kind == "defect"
    assert "a secret" not in detail
    assert detail.startswith("ValueError at ")


@pytest.mark.parametrize("resumed", [False, True])
def test_what_could_not_be_stored_outlives_init(tmp_path: Path, resumed: bool) -> None:
    """Also when that comes at once, and when it resumes a volatile state from elsewhere."""
    with _instance(tmp_path) as (instance, events):
        blob = instance.migration.state_blob(TOOL, BlobType.VOLATILE)
        with _unwritable(), pytest.raises(UnstoredError):
            instance.execution.execute(CLEAR_CONTROL, 0)
        assert events[-1][0] == "storage-failing"
        assert not instance.execution.engine.failed
        if resumed:
            instance.migration.set_state_blob(TOOL, BlobType.VOLATILE, blob)
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.power.state == "on"
        if not resumed:
            assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        assert int.from_bytes(instance.execution.execute(PERMANENT, 0)[-4:]) & DISABLE_CLEAR


def test_a_defect_does_not_forget_what_could_not_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a command is in memory then: INIT begins with what was there before it."""
    with _instance(tmp_path) as (instance, _):
        with _unwritable(), pytest.raises(UnstoredError):
            instance.execution.execute(CLEAR_CONTROL, 0)
        _break_after_the_change(monkeypatch, CC.GET_CAPABILITY)
        assert instance.execution.execute(PERMANENT, 0)[6:] == RC.FAILURE.to_bytes(4)
        monkeypatch.undo()
        with _unwritable():
            instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.store_unsaved()
        instance.execution.check_space()
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        assert int.from_bytes(instance.execution.execute(PERMANENT, 0)[-4:]) & DISABLE_CLEAR


@contextmanager
def _instance(path: Path) -> Iterator[tuple[Instance, list[tuple[str, str]]]]:
    """A TPM that was started, and its events."""
    engine = Engine.manufacture("default-v1", ["sha256"], entropy, now)
    events: list[tuple[str, str]] = []
    with opened(path) as state:
        state.create(engine.permanent())
        instance = Instance(engine, state, lambda kind, detail: events.append((kind, detail)))
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        yield instance, events


def test_a_stored_volatile_state_does_not_outlive_a_migration_in(tmp_path: Path) -> None:
    with _instance(tmp_path) as (instance, _):
        instance.migration.store_volatile()
        blob = instance.migration.state_blob(TOOL, BlobType.PERMANENT)
        instance.power.stop()
        instance.migration.set_state_blob(TOOL, BlobType.PERMANENT, blob)
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.state.load_volatile() is not None
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)
        assert instance.execution.state.load_volatile() is None
        instance.power.init(TOOL, delete_volatile=False)
        assert instance.execution.execute(STARTUP, 0)[6:] == bytes(4)  # nothing was resumed
