"""Samples of what is stored, as octets: how they are made, written down and read.

`python -m tests.compat.stored` makes those of today's formats anew. From the tag 0.2.0 on a sample
is never changed: a new format version gets samples of its own beside the old ones.
"""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from tests.compat.samples import ENTRIES, METADATA
from tests.storage.simulated import SECTOR, Disk, fresh
from vtpmd.operations.ticket import Ticket
from vtpmd.pki.certificates import Certificates
from vtpmd.storage.envelope import seal
from vtpmd.storage.header import Header
from vtpmd.storage.received import Received
from vtpmd.storage.slot import Slot
from vtpmd.storage.state_file import StateFile

SAMPLES = Path(__file__).parent / "samples"

VM = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
DEK, DEK_ID, BRANCH = bytes(range(32)), bytes(range(16)), bytes(range(100, 116))
SLOTS = (
    Slot("local", "host", "kek", "a1b2", "A256GCM", b"\x55" * 60, 1_700_000_000),
    Slot("vault", "dc1", "transit/vtpmd", "3", "transit", b"vault:v3:x", 1, "recovery"),
)
OLDER = Header(VM, 6, "permanent", DEK_ID, BRANCH, 3, "ours")
NEWER = Header(VM, 7, "permanent", DEK_ID, BRANCH, 3, "lent")
VOLATILE = Header(VM, 7, "volatile", DEK_ID, BRANCH, 3, "lent")
INCOMING = Header(VM, 9, "incoming", DEK_ID, BRANCH, 4, "lent")
RECEIVED = Received(INCOMING, b"what a TPM remembers" * 4, b"while it has power" * 4)
TICKET_DEK_ID = b"ticket:\0" + bytes(8)
ANNOUNCED = Ticket(
    metadata=replace(METADATA, uuid=VM),
    certificates=Certificates(),
    ledger=list(ENTRIES),
    dek_id=DEK_ID,
    slots=SLOTS,
    state_version=1,
    state_fields=("NvIndex.data", "NvIndex.public", "Session.key"),
    format=1,
    vtpmd="0.1.0",
)
STATE = b"everything a TPM remembers" * 4


def sealed(header: Header) -> bytes:
    """An envelope of STATE; salt and IV are drawn from the generation."""
    return seal(DEK, header, SLOTS, STATE, entropy=lambda size: bytes([header.generation]) * size)


def nvram() -> Disk:
    """A file after one save: the record that was made is in the other place."""
    disk = fresh(sealed(OLDER), uuid=VM)
    file = StateFile(disk, VM, "nvram")
    file.load()
    file.save(sealed(NEWER))
    return disk


def volatile() -> Disk:
    """A file that was filled and cleared."""
    disk = fresh(role="volatile", uuid=VM)
    file = StateFile(disk, VM, "volatile")
    file.load()
    file.save(sealed(VOLATILE))
    file.clear()
    return disk


def incoming() -> Disk:
    """A file in which a received state waits."""
    disk = fresh(role="incoming", uuid=VM)
    file = StateFile(disk, VM, "incoming")
    file.load()
    states = RECEIVED.encode()
    file.save(seal(DEK, RECEIVED.header, SLOTS, states, entropy=lambda size: b"\x09" * size))
    return disk


def envelope() -> Disk:
    """An envelope by itself, as a state blob is."""
    disk = Disk()
    disk.write(0, sealed(NEWER))
    return disk


def ticket() -> Disk:
    """A ticket, whose file is an envelope, too."""
    header = Header(VM, 0, "ticket", TICKET_DEK_ID)
    disk = Disk()
    disk.write(0, seal(DEK, header, SLOTS, ANNOUNCED.content, entropy=lambda size: bytes(size)))
    return disk


MADE = {
    "envelope-1": envelope,
    "nvram-1": nvram,
    "volatile-1": volatile,
    "incoming-1": incoming,
    "ticket-1": ticket,
}


def write_down(disk: Disk) -> str:
    """The size of a file, then its sectors that are not empty, each behind its offset."""
    lines = [f"size {disk.size()}"]
    for index in sorted(disk.stable):
        octets = disk.read(index * SECTOR, SECTOR)
        if octets.strip(b"\0"):
            lines += [
                f"at {index * SECTOR}",
                *(octets[i : i + 32].hex() for i in range(0, len(octets), 32)),
            ]
    return "\n".join(lines) + "\n"


def read_sample(name: str) -> Disk:
    """The file that a sample stands for."""
    size, *sectors = (SAMPLES / f"{name}.txt").read_text().split("at ")
    disk = Disk(length=int(size.removeprefix("size ")))
    for sector in sectors:
        offset, *lines = sector.split()
        disk.put(int(offset), bytes.fromhex("".join(lines)))
    return disk


if __name__ == "__main__":
    for name, make in MADE.items():
        (SAMPLES / f"{name}.txt").write_text(write_down(make()))
