"""The instances directory on a real disk."""

import errno
import os
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.state_files import BOMB, content_of, put
from tests.supervisor.test_metadata import SAMPLE
from vtpmd.linux.errors import InUseError
from vtpmd.storage.errors import EnvelopeError, StorageError
from vtpmd.storage.record import BEGINNING, MAX_SIZE, ROLES
from vtpmd.supervisor.instance_directory import replace_state
from vtpmd.supervisor.metadata import MAX_PUBLIC_FILE, Metadata
from vtpmd.supervisor.registry import MAX_CERTIFICATES, Contents, Registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "state")
    yield registry
    registry.close()


def made(registry: Registry, name: str, uuid: UUID | None = None) -> Metadata:
    metadata = replace(SAMPLE, name=name, uuid=uuid or uuid4())
    os.close(registry.prepare(metadata))
    registry.publish(metadata.uuid)
    return metadata


def test_an_instance_appears_when_it_is_published(registry: Registry, tmp_path: Path) -> None:
    fd = registry.prepare(SAMPLE)
    assert not (tmp_path / "state" / "instances" / str(SAMPLE.uuid)).exists()
    os.close(fd)
    registry.publish(SAMPLE.uuid)
    (entry,) = registry.load()
    assert (entry.metadata, entry.fault) == (SAMPLE, None)


def test_what_could_not_be_made_durable_has_not_appeared(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.close(registry.prepare(SAMPLE))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError):
            registry.publish(SAMPLE.uuid)
    registry.discard(SAMPLE.uuid)
    assert list((tmp_path / "state" / "instances").iterdir()) == []


def test_what_was_prepared_and_not_published_is_cleared_away(
    registry: Registry, tmp_path: Path
) -> None:
    os.close(registry.prepare(SAMPLE))
    assert registry.load() == []
    assert list((tmp_path / "state" / "instances").iterdir()) == []
    os.close(registry.prepare(SAMPLE))
    registry.discard(SAMPLE.uuid)
    assert list((tmp_path / "state" / "instances").iterdir()) == []


def test_metadata_is_replaced_and_instances_removed(registry: Registry, tmp_path: Path) -> None:
    metadata = made(registry, "web1")
    registry.update(replace(metadata, autostart=False))
    assert registry.load()[0].metadata.autostart is False
    registry.remove(metadata.uuid)
    assert registry.load() == []
    with pytest.raises(StorageError):
        registry.remove(metadata.uuid)


def test_whoever_holds_the_directory_keeps_others_out(registry: Registry, tmp_path: Path) -> None:
    metadata = made(registry, "web1")
    with registry.claimed(metadata.uuid) as fd:
        handed_on = os.dup(fd)  # as over a socket: the same open directory
    with pytest.raises(InUseError), registry.claimed(metadata.uuid):
        pass
    assert len(registry.load()) == 1
    os.close(handed_on)
    with registry.claimed(metadata.uuid):
        pass


def test_a_state_directory_serves_one_registry(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(InUseError, match=f"in use by process {os.getpid()}"):
        Registry(tmp_path / "state")


def test_a_state_directory_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    os.chmod(tmp_path / "open", 0o777)
    with pytest.raises(StorageError):
        Registry(tmp_path / "open")


def test_foreign_files_are_left_alone(registry: Registry, tmp_path: Path) -> None:
    stray = tmp_path / "state" / "instances" / "README"
    stray.write_text("x")
    assert registry.load() == []
    assert stray.exists()


def test_metadata_of_another_instance_is_a_fault(registry: Registry, tmp_path: Path) -> None:
    metadata = made(registry, "web1")
    other = uuid4()
    instances = tmp_path / "state" / "instances"
    (instances / str(other)).mkdir(mode=0o700)
    content = (instances / str(metadata.uuid) / "meta.json").read_bytes()
    (instances / str(other) / "meta.json").write_bytes(content)
    faults = {entry.metadata.uuid: entry.fault for entry in registry.load()}
    assert faults[metadata.uuid] is None
    assert f"belongs to instance {metadata.uuid}" in str(faults[other])


def test_of_two_instances_of_one_name_the_older_keeps_it(registry: Registry) -> None:
    older = made(registry, "web1")
    younger = replace(SAMPLE, uuid=uuid4(), created=SAMPLE.created + timedelta(days=1))
    os.close(registry.prepare(younger))
    registry.publish(younger.uuid)
    entries = {entry.metadata.uuid: entry for entry in registry.load()}
    assert entries[older.uuid].fault is None
    assert entries[younger.uuid].metadata.name == str(younger.uuid)
    assert "has the same name web1" in str(entries[younger.uuid].fault)


@pytest.mark.parametrize("form", [str, lambda uuid: str(uuid).upper(), lambda uuid: uuid.hex])
def test_a_name_that_is_the_uuid_of_another_is_a_fault(
    registry: Registry, form: Callable[[UUID], str]
) -> None:
    victim, own = made(registry, "web1"), uuid4()
    impostor = made(registry, form(victim.uuid))
    named_so = made(registry, form(own), own)
    entries = {entry.metadata.uuid: entry for entry in registry.load()}
    assert entries[victim.uuid].fault is None
    assert entries[named_so.uuid].metadata.name == form(own)
    assert entries[impostor.uuid].metadata.name == str(impostor.uuid)
    assert "is the UUID of another instance" in str(entries[impostor.uuid].fault)


def test_what_is_overwritten_leaves_no_volatile_state(registry: Registry, tmp_path: Path) -> None:
    """That of another time is gone before the permanent state changes, whatever interrupts it."""
    metadata = made(registry, "web1")
    tpm = tmp_path / "state" / "instances" / str(metadata.uuid) / "tpm"
    for role in ROLES:
        put(tpm / role, b"old")
    contents = Contents(metadata.uuid, b"new", {"ek.pem": b"certificate"})
    failing = tpm / "nvram"
    failing.unlink()
    failing.mkdir()
    with pytest.raises(StorageError):
        registry.overwrite(replace(metadata, name="web2"), contents)
    assert content_of(tpm / "volatile") is content_of(tpm / "incoming") is None
    failing.rmdir()
    assert registry.overwrite(replace(metadata, name="web2"), contents) is None
    assert content_of(tpm / "nvram") == b"new"
    assert sorted(os.listdir(tpm)) == sorted(ROLES)
    assert registry.certificates(metadata.uuid) == {"ek.pem": b"certificate"}
    assert registry.load()[0].metadata.name == "web2"


def test_an_instance_of_an_unreleased_layout_is_refused(registry: Registry, tmp_path: Path) -> None:
    metadata = made(registry, "web1")
    directory = tmp_path / "state" / "instances" / str(metadata.uuid)
    shutil.rmtree(directory / "tpm")
    (directory / "lock").unlink()
    for name in ("nvram", "volatile"):
        (directory / name).write_bytes(b"old")
    (entry,) = registry.load()
    assert "layout of an unreleased vtpmd" in str(entry.fault)
    for attempt in (registry.state_files, registry.nvram):
        with pytest.raises(EnvelopeError, match="unreleased"), attempt(metadata.uuid):
            pass
    with pytest.raises(EnvelopeError, match="unreleased"):
        registry.envelope(metadata.uuid)
    # It can be replaced or removed all the same.
    with registry.claimed(metadata.uuid):
        registry.overwrite(metadata, Contents(metadata.uuid, b"new", {}))
    assert sorted(os.listdir(directory)) == ["lock", "meta.json", "tpm"]
    assert registry.load()[0].fault is None
    registry.remove(metadata.uuid)
    assert registry.load() == []


def test_what_a_worker_may_write_is_never_believed(registry: Registry, tmp_path: Path) -> None:
    """Nor does it cost more than a state file may hold, or keep the other instances back."""
    victim, hostile = made(registry, "web1"), made(registry, "web2")
    tpm = tmp_path / "state" / "instances" / str(hostile.uuid) / "tpm"
    good = content_of(tpm / "nvram")
    assert good is None
    for hostility in ("other", "bomb", "raw bomb", "large"):
        match hostility:
            case "other":
                (tpm / "nvram").write_bytes(
                    (tpm.parents[1] / str(victim.uuid) / "tpm" / "nvram").read_bytes()
                )
            case "bomb":
                (tpm / "nvram").unlink()
                with registry.directory(hostile.uuid) as fd:
                    replace_state(fd, hostile.uuid, BOMB)
            case "raw bomb":
                (tpm / "nvram").write_bytes(BOMB)
            case "large":
                os.truncate(tpm / "nvram", 1 << 40)
        entries = {entry.metadata.name: entry for entry in registry.load()}
        assert entries.keys() == {"web1", "web2"}
        assert entries["web2"].providers == frozenset()
        with pytest.raises((EnvelopeError, StorageError)):
            registry.sealed(hostile.uuid)


def test_the_largest_state_costs_no_more_than_a_few_times_its_size(
    registry: Registry, tmp_path: Path
) -> None:
    hostile = made(registry, "web1")
    nvram = tmp_path / "state" / "instances" / str(hostile.uuid) / "tpm" / "nvram"
    repeats = (MAX_SIZE - len(BEGINNING)) // len(BOMB)
    put(nvram, BEGINNING + BOMB * repeats)
    tracemalloc.start()
    try:
        (entry,) = registry.load()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert entry.providers == frozenset()
    assert peak < 8 * MAX_SIZE


def test_no_more_certificates_are_read_than_a_bundle_may_hold(
    registry: Registry, tmp_path: Path
) -> None:
    metadata = made(registry, "web1")
    directory = tmp_path / "state" / "instances" / str(metadata.uuid)
    (directory / "ek.pem").write_bytes(bytes(MAX_PUBLIC_FILE + 1))
    (directory / "EK copy.pem").write_bytes(b"not ours")
    with pytest.raises(StorageError, match="more than 65536 bytes"):
        registry.certificates(metadata.uuid)
    for number in range(MAX_CERTIFICATES + 1):
        (directory / f"{number}.pem").write_bytes(b"")
    with pytest.raises(StorageError, match="more than 16 certificates"):
        registry.certificates(metadata.uuid)
