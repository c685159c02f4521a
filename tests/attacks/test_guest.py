"""A guest that owns its kernel attacks QEMU and its TPM through the TPM's registers.

QEMU passes on what a guest writes: up to the whole buffer when the size field of a CRB command is
implausible, or what the FIFO has taken. None of it may reach further than the guest's own TPM.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks.kernel import AttackingGuest, SilentError, build
from tests.faults.machine import INDEX_SIZE, Machine
from tests.guest.errors import GuestError
from tests.peers.vtpmd import Vtpmd, VtpmdInstance

pytestmark = pytest.mark.guest

BUFFER = {"crb": 3968, "tis": 4096}
"""The octets that QEMU's devices hold of a command and of an answer."""
PROMPTLY = 10.0
"""Seconds for QEMU's monitor to answer on a busy machine: for ever is what is to be told."""

# Response codes (Part 2, 6.6).
SUCCESS, INITIALIZE, LOCALITY = 0, 0x100, 0x907
BAD_TAG, COMMAND_SIZE, COMMAND_CODE = 0x01E, 0x142, 0x143
SIZE_ERROR, INSUFFICIENT_1 = 0x095, 0x1DA

PASSWORD = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
STARTUP_CLEAR = struct.pack(">HIIH", 0x8001, 12, 0x144, 0)
MANUFACTURER = 0x105


def random(count: int, size: int = 12) -> bytes:
    """TPM2_GetRandom, with any size field."""
    return struct.pack(">HIIH", 0x8001, size, 0x17B, count)


def capability(property_tag: int, count: int = 1) -> bytes:
    """TPM2_GetCapability of fixed properties."""
    return struct.pack(">HIIIII", 0x8001, 22, 0x17A, 6, property_tag, count)


def pcr_reset(index: int) -> bytes:
    """TPM2_PCR_Reset."""
    return struct.pack(">HIIII", 0x8002, 27, 0x13D, index, len(PASSWORD)) + PASSWORD


def with_tcg_header(locality: int, command: bytes) -> bytes:
    """A command as data sockets take it: with TPM_SEND_COMMAND, a locality and its size."""
    return struct.pack(">IBI", 8, locality, len(command)) + command


def filled(octets: bytes, size: int) -> bytes:
    """The octets and zeros up to a size."""
    return octets[:size].ljust(size, b"\0")


def repeated(head: bytes, command: bytes, size: int) -> bytes:
    """The octets, then the same command again and again, up to a size."""
    return filled(head + command * (size // len(command)), size)


@dataclass(frozen=True)
class Case:
    """What is submitted, and the response code, or what the guest's device says instead."""

    name: str
    octets: bytes
    expected: int | str
    locality: int = 0
    """By whose registers."""


def cases(model: str) -> Iterator[Case]:
    """The attacks on one kind of device, with the only answer that there may be."""
    room = BUFFER[model]
    enough = room + 1  # what the devices want to see before they pass on a size that is too large
    properties = capability(0x100, 200)  # the longest answer of the shortest command

    for locality in range(5):
        octets = with_tcg_header(locality, random(8))
        yield Case(f"TCG header, locality {locality}", filled(octets, enough), COMMAND_SIZE)
    octets = repeated(with_tcg_header(0, properties), properties, enough)
    yield Case("TCG header, pipelined commands", octets, COMMAND_SIZE)
    octets = repeated(b"", with_tcg_header(3, properties), enough)
    yield Case("pipelined TCG headers", octets, COMMAND_SIZE)
    # Too long for any buffer: QEMU passes on all it holds.
    octets = repeated(struct.pack(">HI", 0x8001, 2**32 - 1), properties, enough)
    yield Case("size 2^32-1, pipelined commands", octets, COMMAND_SIZE)
    octets = repeated(struct.pack(">HI", 0x8001, room + 1), properties, enough)
    yield Case("size one too long, pipelined commands", octets, COMMAND_SIZE)

    for size in range(1, 10):
        yield Case(f"size {size}", filled(random(8, size), enough), COMMAND_SIZE)
    yield Case("size 10", filled(random(8, 10), enough), INSUFFICIENT_1)
    for size in (3967, 3968, 3969, 4096, 2**32 - 1):
        code = SIZE_ERROR if size <= room else COMMAND_SIZE
        yield Case(f"size {size}", filled(random(8, size), enough), code)

    truncated = filled(pcr_reset(16)[:14], 27) if model == "crb" else pcr_reset(16)[:14]
    yield Case("truncated", truncated, SIZE_ERROR if model == "crb" else "expecting")
    yield Case("ones", b"\xff" * enough, COMMAND_SIZE)
    yield Case("tag 0", filled(b"\0\0" + random(8)[2:], room), BAD_TAG)
    unknown = struct.pack(">HII", 0x8001, 10, 0xDEADBEEF)
    yield Case("unknown command", filled(unknown, room), COMMAND_CODE)
    if model == "tis":
        # A guest has the localities that QEMU gives it, and each for its own command only.
        for locality, code in enumerate((LOCALITY, LOCALITY, SUCCESS, LOCALITY)):
            yield Case(f"PCR_Reset at locality {locality}", pcr_reset(20), code, locality)
            octets = filled(random(8, 0), enough)
            yield Case(f"size 0 at locality {locality}", octets, COMMAND_SIZE, locality)
        yield Case("PCR_Reset at locality 4", pcr_reset(20), "no locality", 4)


def code_of(answer: bytes | str) -> int | str:
    """The response code of a well-formed answer without sessions, or what the device said."""
    if isinstance(answer, str):
        return answer
    _, size, code = struct.unpack_from(">HII", answer)
    assert size == len(answer), answer[:32].hex()
    return int(code)


def find_in_step(guest: AttackingGuest) -> None:
    """Each question gets its own answer, and locality 0 is what it is."""
    for count in (7, 19):
        answer = guest.submit(random(count))
        assert code_of(answer) == SUCCESS
        assert len(answer) == 12 + count, "the answer to another command"
    answer = guest.submit(capability(MANUFACTURER))
    assert isinstance(answer, bytes)
    assert code_of(answer) == SUCCESS
    assert struct.unpack_from(">II", answer, 15) == (1, MANUFACTURER), "of another command"
    for index in (20, 21, 22):
        assert code_of(guest.submit(pcr_reset(index))) == LOCALITY, f"PCR {index} was reset"


def find_master(guest: AttackingGuest) -> None:
    """QEMU's monitor still commands the machine."""
    for command in ("stop", "cont"):
        guest.qmp.command(command, PROMPTLY)
    assert guest.qmp.command("query-status", PROMPTLY)["status"] == "running"


def try_case(guest: AttackingGuest, case: Case) -> None:
    guest.start(case.octets, case.locality)
    find_master(guest)  # while it is on its way, too
    assert code_of(guest.answer()) == case.expected
    find_in_step(guest)
    find_master(guest)


def migrate(guest: AttackingGuest) -> None:
    """Save the machine, which waits for its TPM, and let it go on."""
    guest.qmp.migrate("exec:cat >/dev/null", PROMPTLY)
    guest.qmp.command("cont", PROMPTLY)


def reset(guest: AttackingGuest, model: str) -> None:
    """The firmware starts the TPM again."""
    guest.qmp.command("system_reset", PROMPTLY)
    guest.expect_up(model)
    assert code_of(guest.submit(STARTUP_CLEAR)) == INITIALIZE, "the firmware's own had failed"
    find_in_step(guest)


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kernel") / "kernel.elf")


@pytest.fixture
def daemon(short_path: Path) -> Iterator[Vtpmd]:
    daemon = Vtpmd(short_path)
    yield daemon
    daemon.close()


@pytest.fixture
def instance(daemon: Vtpmd) -> VtpmdInstance:
    """An instance that has something to lose."""
    instance = daemon.create("attacked")
    with Machine(instance) as machine:
        machine.define_indices()
        machine.write(b"\x47" * INDEX_SIZE)
    return instance


@pytest.mark.parametrize("model", ["crb", "tis"])
def test_guest_reaches_nobody(
    model: str, kernel: Path, daemon: Vtpmd, instance: VtpmdInstance, short_path: Path
) -> None:
    worker = instance.process()
    with AttackingGuest(kernel, instance.control, model, short_path / "qemu.log") as guest:
        reset(guest, model)
        for case in cases(model):
            try:
                try_case(guest, case)
            except (AssertionError, GuestError, SilentError) as found:
                raise AssertionError(f"{case.name}: {found!r}") from None
        migrate(guest)
        find_in_step(guest)
        reset(guest, model)
        guest.terminate()
    assert instance.process() == worker
    assert "defect" not in daemon.log()
    with Machine(instance) as machine:
        assert machine.read() == b"\x47" * INDEX_SIZE


FATAL = bytes.fromhex("00c40000000a00000009")
"""What QEMU tells the guest when it has lost its TPM."""


def test_size_of_zero(
    kernel: Path, daemon: Vtpmd, instance: VtpmdInstance, short_path: Path
) -> None:
    """QEMU sends nothing then and waits for ever by itself: an administrator can free it."""
    with AttackingGuest(kernel, instance.control, "crb", short_path / "qemu.log") as guest:
        guest.start(random(8, 0))
        with pytest.raises(SilentError):
            guest.answer(1.0)
        assert guest.qmp.command("query-status", PROMPTLY)["status"] == "running"
        assert daemon.ctl("stop", instance.name, "--force").returncode == 0
        assert guest.answer() == FATAL
        find_master(guest)
        guest.terminate()
    daemon.control("start", instance.name)
    with Machine(instance) as machine:
        assert machine.read() == b"\x47" * INDEX_SIZE
