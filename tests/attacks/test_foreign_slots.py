"""A worker that was taken over asks for keys that are not its instance's: by their wrapped form."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.attacks.taken import CHANNEL, TakenOver, daemon_with_hole, taken_over
from tests.peers.vtpmd import Vtpmd, VtpmdInstance
from tests.state_files import envelope_of
from vtpmd.operations.ticket import sealed
from vtpmd.storage.envelope import Envelope

pytestmark = pytest.mark.served

ASK = """
channel.settimeout(30)
slots = tuple(bytes(slot) for slot in (slot,))
channel.send(encode(m.UnwrapKey(bytes(dek_id), slots)))
while True:
    said = sys.modules['vtpmd.ipc.rules'].CODEC.decode(channel.recv(65536))
    if type(said) in (m.Unwrapped, m.NotUnwrapped):
        break
answer = type(said).__name__
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Vtpmd]:
    directory = Path(tempfile.mkdtemp(prefix="vtpm."))
    daemon = daemon_with_hole(directory)
    yield daemon
    daemon.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def instance(daemon: Vtpmd) -> VtpmdInstance:
    return daemon.create("taken")


@pytest.fixture
def worker(instance: VtpmdInstance) -> Iterator[TakenOver]:
    with taken_over(instance) as worker:
        assert worker.run(CHANNEL) == ""
        yield worker


def stored(instance: VtpmdInstance) -> Envelope:
    return envelope_of(instance.nvram, UUID(instance.directory.name))


def asked(worker: TakenOver, envelope: Envelope) -> str:
    """What it is answered that asks for the key of an envelope."""
    worker.put("dek_id", envelope.header.dek_id)
    worker.put("slot", envelope.slots[0].encode())
    return worker.run(ASK)


def test_it_gets_its_own_key_and_no_other(
    daemon: Vtpmd, instance: VtpmdInstance, worker: TakenOver
) -> None:
    assert asked(worker, stored(instance)) == "Unwrapped"
    other = daemon.create("other")
    assert asked(worker, stored(other)) == "NotUnwrapped"
    assert "blob-key-refused" in daemon.log()


def test_it_gets_no_key_of_a_ticket_not_even_of_its_own(
    daemon: Vtpmd, instance: VtpmdInstance, worker: TakenOver, tmp_path: Path
) -> None:
    """Else a machine could write tickets, with an owner of its choice for a target's sockets."""
    ticket = tmp_path / "ticket"
    daemon.control("migrate", instance.name, "--ticket", str(ticket))
    assert asked(worker, sealed(ticket.read_bytes())) == "NotUnwrapped"
    assert "no key of a ticket" in daemon.log()
