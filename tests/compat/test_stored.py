"""What one release stored is read by all later ones: samples, octet by octet.

They bind from the tag 0.2.0 on.
"""

import os
from pathlib import Path

import pytest

from tests.compat.stored import (
    ANNOUNCED,
    DEK,
    INCOMING,
    MADE,
    NEWER,
    OLDER,
    RECEIVED,
    SAMPLES,
    SLOTS,
    STATE,
    VM,
    read_sample,
    write_down,
)  # fmt: skip
from tests.storage.simulated import Disk
from vtpmd.operations import ticket
from vtpmd.storage.device import FileDevice
from vtpmd.storage.envelope import Envelope, parse
from vtpmd.storage.received import Received
from vtpmd.storage.record import Role
from vtpmd.storage.state_file import Loaded, StateFile


def loaded(disk: Disk, role: Role, path: Path) -> Loaded:
    """What a sample gives as a real file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(fd, disk.size())
        for index, sector in disk.stable.items():
            os.pwrite(fd, sector, index * len(sector))
        return StateFile(FileDevice(fd), VM, role).load()
    finally:
        os.close(fd)


def opens(envelope: Envelope) -> bool:
    return envelope.slots == SLOTS and envelope.unseal(DEK, VM) == STATE


def test_state_file_of_version_1(tmp_path: Path) -> None:
    disk = read_sample("nvram-1")
    found = loaded(disk, "nvram", tmp_path / "nvram")
    assert found.condition == "whole"
    assert found.content is not None
    assert parse(found.content).header == NEWER
    assert opens(parse(found.content))


def test_place_before_in_a_state_file_of_version_1(tmp_path: Path) -> None:
    disk = read_sample("nvram-1")
    at = max(disk.stable)
    disk.put(at * 512, bytes(512))  # the end of the record in place 1
    found = loaded(disk, "nvram", tmp_path / "nvram")
    assert found.condition == "interrupted"
    assert found.content is not None
    assert parse(found.content).header == OLDER
    assert opens(parse(found.content))


def test_cleared_file_of_version_1(tmp_path: Path) -> None:
    found = loaded(read_sample("volatile-1"), "volatile", tmp_path / "volatile")
    assert found == Loaded(None, "whole")


def test_received_state_of_version_1(tmp_path: Path) -> None:
    found = loaded(read_sample("incoming-1"), "incoming", tmp_path / "incoming")
    assert found.content is not None
    envelope = parse(found.content)
    assert envelope.header == INCOMING
    content = bytes(envelope.unseal(DEK, VM, "incoming"))
    assert Received.decode(envelope.header, content) == RECEIVED


def test_envelope_of_version_1() -> None:
    disk = read_sample("envelope-1")
    envelope = parse(disk.read(0, disk.size()))
    assert envelope.header == NEWER
    assert opens(envelope)


def test_ticket_of_version_1() -> None:
    disk = read_sample("ticket-1")
    envelope = ticket.sealed(disk.read(0, disk.size()))
    assert ticket.opened(envelope, bytearray(DEK)) == ANNOUNCED


@pytest.mark.parametrize("name", MADE)
def test_sample_is_what_is_written_today(name: str) -> None:
    """When a format changes, its samples stay as they are and new ones are made beside them."""
    assert (SAMPLES / f"{name}.txt").read_text() == write_down(MADE[name]())


def test_every_sample_is_known() -> None:
    kinds = tuple(name.rpartition("-")[0] for name in MADE)
    assert {path.stem for path in SAMPLES.iterdir() if path.stem.startswith(kinds)} == set(MADE)
