"""A state file that is not what it was: refused with the reason, left alone, nobody else harmed."""

import hashlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import cbor2
import pytest

from tests.faults.bystander import Bystander
from tests.faults.machine import INDEX_SIZE, Machine
from tests.faults.sealing import dek_of
from tests.peers.vtpmd import Vtpmd, VtpmdInstance, identity
from tests.state_files import (
    BOMB,
    PLACES,
    content_of,
    current_place,
    envelope_of,
    older_place,
    overwrite,
    put,
)
from tests.tpm import states
from vtpmd.api.problems import STATE_REFUSED, UNAVAILABLE, Problem
from vtpmd.storage.envelope import seal
from vtpmd.storage.record import HEAD_SIZE, size
from vtpmd.storage.state_file import FILE_SIZE
from vtpmd.supervisor.reasons import READY

COSE_ENCRYPT = 96
FORMAT_VERSION = -70001
FLIPS, CUTS = 150, 60
STRANGER = 65533
Damage = Callable[[VtpmdInstance, VtpmdInstance], None]


@pytest.fixture(scope="module")
def other(host: Vtpmd) -> VtpmdInstance:
    return host.create("other")


@pytest.fixture(autouse=True)
def bystander(other: VtpmdInstance) -> Iterator[None]:
    with Bystander(other):
        yield


@pytest.fixture
def victim(host: Vtpmd) -> Iterator[VtpmdInstance]:
    """A stopped instance with a history, which can be deleted whatever was done to it."""
    instance = host.create("victim")
    with Machine(instance) as machine:
        machine.define_indices()
    instance.stop()
    yield instance
    host.control("delete", "victim", "--yes")
    assert host.request("GET", "/instances/victim")[0] == 404
    assert not instance.directory.exists()


def fingerprint(path: Path) -> object:
    """All there is to say about a file without following or opening what is none."""
    if not os.path.lexists(path):
        return None
    status = path.lstat()
    content = ""
    if path.is_file() and os.access(path, os.R_OK):
        with path.open("rb") as file:
            content = hashlib.sha256(file.read(1 << 20)).hexdigest()
    times = status.st_mtime_ns, status.st_ctime_ns
    return status.st_ino, status.st_mode, status.st_uid, status.st_size, times, content


def refuse(instance: VtpmdInstance, refusal: Problem = STATE_REFUSED) -> str:
    """Try to start it: it fails, and the file stays as it is. The reason."""
    before = fingerprint(instance.nvram)
    status, problem = instance.start()
    assert (status, problem["code"]) == (refusal.status, refusal.code), problem
    info = instance.info()
    assert (info["state"], info["worker"]) == ("failed", None)
    assert info["reason"] == problem["detail"].removesuffix(".")
    assert fingerprint(instance.nvram) == before
    return str(info["reason"])


def serve(instance: VtpmdInstance) -> str:
    """Start it, find its history and stop it; what was said of its state."""
    status, info = instance.start()
    assert status == 200, info
    reason = str(instance.info()["reason"])
    with Machine(instance) as machine:
        assert machine.count() == 1
    instance.stop()
    return reason


def flip(path: Path, offset: int, bit: int) -> None:
    with path.open("rb") as file:
        file.seek(offset)
        overwrite(path, bytes([file.read(1)[0] ^ 1 << bit]), offset)


def record_size(instance: VtpmdInstance, place: int) -> int:
    with instance.nvram.open("rb") as file:
        file.seek(place)
        return size(file.read(HEAD_SIZE))


def test_bit_flips(victim: VtpmdInstance) -> None:
    """In both places: what is left is no state."""
    content = victim.nvram.read_bytes()
    length = min(record_size(victim, place) for place in PLACES)
    chance = random.Random(1)
    for index in range(FLIPS):
        # All of the head, whose octets say what the record is, and samples of the rest.
        at = index if index < HEAD_SIZE else chance.randrange(length)
        bit = chance.randrange(8)
        for place in PLACES:
            flip(victim.nvram, place + at, bit)
        reason = refuse(victim)
        assert any(word in reason for word in ("damaged", "format version")), reason
        for place in PLACES:
            flip(victim.nvram, place + at, bit)
    assert victim.nvram.read_bytes() == content
    assert serve(victim) == READY


@pytest.mark.parametrize("choose", [current_place, older_place], ids=["newest", "older"])
def test_bit_flips_in_one_place(victim: VtpmdInstance, choose: Callable[[Path], int]) -> None:
    """As an interrupted write leaves it: the other place is served, and told if it is older."""
    chance = random.Random(3)
    newest = choose is current_place  # what was lost then had been acknowledged, and seen
    for _ in range(FLIPS // 15):
        place = choose(victim.nvram)
        flip(victim.nvram, place + chance.randrange(record_size(victim, place)), 0)
        reason = serve(victim)
        assert "is older than the one of" in reason if newest else reason == READY
    told = '"event": "rolled-back"' if newest else '"kind": "write-interrupted"'
    assert told in victim.daemon.log()


def test_truncation(victim: VtpmdInstance) -> None:
    content = victim.nvram.read_bytes()
    chance = random.Random(2)
    lengths = [0, 1, HEAD_SIZE, *(chance.randrange(record_size(victim, 0)) for _ in range(CUTS))]
    for length in lengths:
        victim.nvram.write_bytes(content[:length])
        assert "truncated" in refuse(victim)
    victim.nvram.write_bytes(bytes(len(content)))
    assert "damaged" in refuse(victim)
    victim.nvram.write_bytes(content[: PLACES[1]])
    assert "shorter than it was made" in serve(victim)
    victim.nvram.write_bytes(content + b"\0")
    assert "is older than the one of" in serve(victim)
    victim.nvram.write_bytes(content.ljust(FILE_SIZE + 1, b"\0"))
    assert "more than" in refuse(victim)


def test_one_place_of_another_instance(host: Vtpmd, victim: VtpmdInstance) -> None:
    stranger = host.create("stranger")
    stranger.stop()
    place = older_place(victim.nvram)
    overwrite(victim.nvram, stranger.nvram.read_bytes()[place:][:32768], place)
    reason = serve(victim)
    assert "permanent state: one place holds a record of" in reason
    assert stranger.directory.name in reason
    assert serve(victim) == READY  # it has been overwritten
    host.control("delete", "stranger", "--yes")


def test_places_swapped(victim: VtpmdInstance) -> None:
    content = victim.nvram.read_bytes()
    for place in PLACES:
        overwrite(victim.nvram, content[PLACES[1] - place :][:32768], place)
    assert "damaged" in refuse(victim)


def test_a_write_that_was_lost(victim: VtpmdInstance) -> None:
    """The disk has what it had two writes ago: one place is too old for the other."""
    before = victim.nvram.read_bytes()
    place = older_place(victim.nvram)
    for _ in range(3):
        assert serve(victim) == READY
    if current_place(victim.nvram) == place:
        place = PLACES[1] - place
    overwrite(victim.nvram, before[place:][:32768], place)
    assert "is missing" in serve(victim)


@pytest.mark.parametrize("stored", [False, True], ids=["raw", "in a record"])
def test_bomb(host: Vtpmd, victim: VtpmdInstance, stored: bool) -> None:
    """Octets that a worker may have written, and a careless decoder would burst of."""
    if stored:
        put(victim.nvram, BOMB)
    else:
        victim.nvram.write_bytes(BOMB.ljust(PLACES[1] + 8192, b"\0"))
    host.end()
    host.start()
    assert "damaged" in refuse(victim)


def test_swapped_between_instances(host: Vtpmd, victim: VtpmdInstance) -> None:
    stranger = host.create("stranger")
    stranger.stop()
    ours, theirs = victim.nvram.read_bytes(), stranger.nvram.read_bytes()
    victim.nvram.write_bytes(theirs)
    stranger.nvram.write_bytes(ours)
    for instance, wrong in ((victim, stranger), (stranger, victim)):
        before = fingerprint(instance.nvram)
        status, problem = instance.start()
        assert status == 500, problem
        assert problem["code"] == "state-refused"
        assert wrong.directory.name in problem["detail"]
        assert "belongs to instance" in problem["detail"]
        assert fingerprint(instance.nvram) == before
        assert instance.info()["state"] == "failed"
    victim.nvram.write_bytes(ours)
    stranger.nvram.write_bytes(theirs)
    for instance in (victim, stranger):
        assert instance.start()[0] == 200
        instance.stop()
    host.control("delete", "stranger", "--yes")


def test_swapped_directories(host: Vtpmd, victim: VtpmdInstance) -> None:
    """The files of an instance under another UUID: the metadata says so at the next start."""
    moved = victim.directory.with_name(str(UUID(int=7)))
    victim.directory.rename(moved)
    host.end()
    host.start()
    status, info = host.request("GET", f"/instances/{moved.name}")
    assert (status, info["state"]) == (200, "failed")
    assert victim.directory.name in info["reason"]
    moved.rename(victim.directory)
    host.end()
    host.start()
    assert victim.start()[0] == 200
    victim.stop()


def test_envelope_of_a_newer_version(victim: VtpmdInstance) -> None:
    envelope = cbor2.loads(content_of(victim.nvram) or b"")
    assert envelope.tag == COSE_ENCRYPT
    protected, *rest = envelope.value
    header = {**cbor2.loads(protected), FORMAT_VERSION: 2}
    newer = cbor2.CBORTag(COSE_ENCRYPT, [cbor2.dumps(header, canonical=True), *rest])
    put(victim.nvram, cbor2.dumps(newer, canonical=True))
    reason = refuse(victim)
    assert "format version 2" in reason
    assert "newer vtpmd" in reason


def reseal(instance: VtpmdInstance, change: Callable[[dict[str, object]], object]) -> None:
    """Change the state inside, with the key of the host: what a newer version may write."""
    uuid, dek = UUID(instance.directory.name), dek_of(instance)
    envelope = envelope_of(instance.nvram)
    state = states.changed(bytes(envelope.unseal(dek, uuid)), change)
    content = seal(dek, envelope.header, envelope.slots, state)
    put(instance.nvram, content)


def test_state_of_a_newer_version(victim: VtpmdInstance) -> None:
    reseal(victim, lambda state: state.update(version=99))
    reason = refuse(victim)
    assert "version 99" in reason
    assert "reads up to" in reason


def test_state_with_more_than_this_version_knows(victim: VtpmdInstance) -> None:
    reseal(victim, lambda state: state.update(entanglement={}))
    assert "entanglement" in refuse(victim)


def _remove(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    instance.nvram.unlink()


def _directory(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    instance.nvram.unlink()
    instance.nvram.mkdir()
    (instance.nvram / "nvram").write_text("precious")


def _symbolic_link(instance: VtpmdInstance, other: VtpmdInstance) -> None:
    instance.nvram.rename(instance.nvram.with_name("elsewhere"))
    instance.nvram.symlink_to("elsewhere")


def _link_to_another(instance: VtpmdInstance, other: VtpmdInstance) -> None:
    instance.nvram.unlink()
    instance.nvram.symlink_to(other.nvram)


def _fifo(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    instance.nvram.unlink()
    os.mkfifo(instance.nvram)


def _huge(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    os.truncate(instance.nvram, 1 << 40)  # sparse


def _writable_by_all(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    instance.nvram.chmod(0o666)


def _unreadable(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    if os.geteuid() == 0 and identity() is None:
        pytest.skip("root reads everything")
    instance.nvram.chmod(0)


def _foreign(instance: VtpmdInstance, _: VtpmdInstance) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    shutil.chown(instance.nvram, STRANGER, STRANGER)
    instance.nvram.chmod(0o644)


@pytest.mark.parametrize(
    ("replace", "reason"),
    [
        (_remove, "No such file"),
        (_directory, "is not a regular file"),
        (_symbolic_link, "symbolic link"),
        (_link_to_another, "symbolic link"),
        (_fifo, "is not a regular file"),
        (_huge, "more than"),
        (_writable_by_all, "has mode 0666"),
        (_unreadable, "Permission denied"),
        (_foreign, f"belongs to user {STRANGER}"),
    ],
    ids=lambda value: value.__name__.lstrip("_") if callable(value) else "",
)
def test_replaced_by_something_else(
    victim: VtpmdInstance, other: VtpmdInstance, replace: Damage, reason: str
) -> None:
    replace(victim, other)
    # What the system lets nobody read may be whole: the host is at fault.
    assert reason in refuse(victim, UNAVAILABLE if replace is _unreadable else STATE_REFUSED)


def test_daemon_starts_whatever_it_finds(host: Vtpmd, victim: VtpmdInstance) -> None:
    """One unusable instance does not keep the daemon and the others from starting."""
    assert victim.start()[0] == 200
    victim.daemon.control("stop", victim.name, "--temporary")
    instances = victim.directory.parent
    (victim.nvram).unlink()
    victim.nvram.mkdir()
    leftover = instances / f".old-{UUID(int=8)}"
    (leftover / "deep").mkdir(parents=True, mode=0o700)
    (instances / "notes.txt").write_text("not an instance")
    host.end()
    host.start()
    info = victim.wait_for(lambda info: info["state"] == "failed", "failed")
    assert "is not a regular file" in info["reason"]
    assert [info["name"] for info in host.control("list")["instances"]] == ["other", "victim"]
    assert (leftover / "deep").exists()
    shutil.rmtree(leftover)
    (instances / "notes.txt").unlink()


def test_create_again_after_deletion(host: Vtpmd) -> None:
    """A TPM of the same name and UUID is a new one, and a failed one makes room for it."""
    uuid = "6b1d3c0a-5a34-4e51-9d5f-52a3a6b7c8d9"
    for _ in range(3):
        instance = host.create("again", "--uuid", uuid)
        with Machine(instance) as machine:
            machine.define_indices()  # fails if they were there
            machine.write(b"\x31" * INDEX_SIZE)
        instance.stop()
        instance.nvram.unlink()
        (instance.nvram / "deep").mkdir(parents=True)
        assert instance.start()[0] == 500
        host.control("delete", "again", "--yes")
