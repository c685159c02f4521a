"""The keyring missing, damaged or another host's: locked, with the reason, until it is back."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.bystander import Bystander
from tests.faults.machine import INDEX_SIZE, Machine
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from tests.state_files import envelope_of
from vtpmd.kms.local.keyring import Keyring

CONTENT = b"\x42" * INDEX_SIZE


@pytest.fixture(scope="module")
def other(host: Vtpmd) -> VtpmdInstance:
    return host.create("other")


@pytest.fixture
def instance(host: Vtpmd, other: VtpmdInstance) -> Iterator[VtpmdInstance]:
    """A stopped instance with a history, while another machine runs."""
    instance = host.create("locked")
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(CONTENT)
    instance.stop()
    with Bystander(other):
        yield instance
    instance.stop()
    host.control("delete", "locked", "--yes")


def refuse(instance: VtpmdInstance) -> str:
    """Try to start it: it is locked, and no file has changed. The reason."""
    keyring = instance.daemon.state / "keyring"
    before = [path.read_bytes() if path.is_file() else None for path in (keyring, instance.nvram)]
    status, problem = instance.start()
    assert (status, problem["code"]) == (503, "key-unavailable"), problem
    info = instance.info()
    assert (info["state"], info["worker"]) == ("locked", None)
    assert problem["detail"].startswith("key provider local: ")
    after = [path.read_bytes() if path.is_file() else None for path in (keyring, instance.nvram)]
    assert after == before
    return str(info["reason"])


def _flip(keyring: Path) -> None:
    content = bytearray(keyring.read_bytes())
    content[len(content) // 2] ^= 0x10
    keyring.write_bytes(content)


def _truncate(keyring: Path) -> None:
    keyring.write_bytes(keyring.read_bytes()[:-5])


def _empty(keyring: Path) -> None:
    keyring.write_bytes(b"")


def _another(keyring: Path) -> None:
    keyring.write_bytes(Keyring().rotated(1).encode())


def _readable_by_all(keyring: Path) -> None:
    keyring.chmod(0o644)


def _directory(keyring: Path) -> None:
    keyring.unlink()
    keyring.mkdir()


def _link(keyring: Path) -> None:
    keyring.rename(keyring.with_name("elsewhere"))
    keyring.symlink_to("elsewhere")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_flip, "it is damaged"),
        (_truncate, "it is damaged"),
        (_empty, "it is damaged"),
        (_another, "is not in the keyring"),
        (_readable_by_all, "0644"),
        (_directory, "is not a regular file"),
        (_link, "symbolic link"),
    ],
    ids=lambda value: value.__name__.lstrip("_") if callable(value) else "",
)
def test_unusable_keyring(
    host: Vtpmd, instance: VtpmdInstance, harm: Callable[[Path], None], reason: str
) -> None:
    keyring = host.state / "keyring"
    saved = Path(tempfile.mkdtemp(dir=host.directory)) / "keyring"
    shutil.copy2(keyring, saved)
    owner = keyring.stat()
    harm(keyring)
    told = refuse(instance)
    assert reason in told
    assert str(keyring) in told
    if harm is _another:
        (slot,) = envelope_of(instance.nvram).slots
        assert f"KEK {slot.key_version}" in told
    status, problem = host.request("POST", "/instances", {"name": "new"})
    assert (status, problem["code"]) == (503, "key-unavailable")
    if harm is _another:  # which could seal a new instance, but not certify it
        assert problem["detail"].startswith("the keys of the authority: ")
    if keyring.is_dir():
        keyring.rmdir()
    saved.rename(saved.with_name("copy"))
    shutil.copy2(saved.with_name("copy"), saved)
    shutil.chown(saved, owner.st_uid, owner.st_gid)
    saved.replace(keyring)
    check_unlocked(instance)


def check_unlocked(instance: VtpmdInstance) -> None:
    """With the keyring back, nothing is lost and no restart of the daemon was needed."""
    status, answer = instance.start()
    assert status == 200, answer
    with Machine(instance) as machine:
        assert machine.read() == CONTENT


def test_missing_keyring_is_waited_for(host: Vtpmd, instance: VtpmdInstance) -> None:
    keyring, elsewhere = host.state / "keyring", host.state / "elsewhere"
    keyring.rename(elsewhere)
    reason = refuse(instance)
    assert f"the keyring {keyring} is missing" in reason
    assert "next attempt in" in reason
    assert not keyring.exists()  # never made anew: it would open nothing
    elsewhere.rename(keyring)
    instance.wait_for(lambda info: info["state"] == "running", "unlocked by itself")
    check_unlocked(instance)


def test_daemon_starts_without_its_keyring(daemon: Vtpmd) -> None:
    """After a restart the worker that runs is adopted, and the one that stopped is locked."""
    keyring, elsewhere = daemon.state / "keyring", daemon.state / "elsewhere"
    running, waiting = daemon.create("running"), daemon.create("waiting")
    worker = running.process()
    with Machine(running) as machine:
        machine.define_indices()
        daemon.control("stop", "waiting", "--temporary")
        daemon.end()
        keyring.rename(elsewhere)
        daemon.start()
        assert running.process() == worker
        machine.write(CONTENT)
        waiting.wait_for(lambda info: info["state"] == "locked", "locked")
        assert not keyring.exists()
        # Its socket is there already: a virtual machine that connects now waits for the key.
        assert waiting.control.is_socket()
        elsewhere.rename(keyring)
        waiting.wait_for(lambda info: info["state"] == "running", "unlocked by itself")
        assert machine.read() == CONTENT
