"""What is done to stored state while the power may go, and what must be there afterwards."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.compat.samples import METADATA
from tests.faults.power import Recording
from vtpmd.config.schema import Configuration
from vtpmd.operations.bundle import decode, encode
from vtpmd.storage.envelope import parse
from vtpmd.storage.header import Header
from vtpmd.storage.key import Key
from vtpmd.storage.received import Received
from vtpmd.storage.sealed import SealedState
from vtpmd.storage.slot import Slot
from vtpmd.supervisor import snapshots
from vtpmd.supervisor.anchors import Anchors
from vtpmd.supervisor.registry import Contents, Registry

SLOTS = (Slot("local", "host", "kek", "a1b2", "A256GCM", b"\x55" * 60, 1_700_000_000),)
OTHER_SLOTS = (Slot("local", "host", "kek", "b2c3", "A256GCM", b"\x66" * 60, 1_800_000_000),)
META = replace(METADATA, handover="ours", handover_generation=0)
VM = META.uuid
THEIRS = b"their state" * 100


def key(number: int) -> Key:
    return Key(bytearray([number]) * 32, bytes([number]) * 16, SLOTS)


class Host:
    """A state directory, and whoever has the keys."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(root / "state")
        # The state of the whole directory is under test: the policy is the strictest.
        settings = {"state_dir": str(root / "state"), "rollback": "enforce"}
        configuration = Configuration.model_validate(settings)
        self.anchors = Anchors(configuration, self.registry)

    def close(self) -> None:
        self.anchors.close()
        self.registry.close()

    @contextmanager
    def state(self, number: int = 1) -> Iterator[SealedState]:
        """The state as a worker has it, with this key."""
        with self.registry.state_files(VM) as fds:
            yield SealedState.of(fds, VM, key(number))

    def create(self, permanent: bytes) -> None:
        directory = self.registry.prepare(META)
        os.close(directory)
        prepared = self.registry._root
        path = Path(f"/proc/self/fd/{prepared}/.new-{VM}/tpm")
        fds = [os.open(path / role, os.O_RDWR) for role in ("nvram", "volatile", "incoming")]
        SealedState.of(fds, VM, key(1)).create(permanent)
        for fd in fds:
            os.close(fd)
        self.registry.publish(VM)

    def wait_for(self) -> None:
        """A place for a TPM that is still to come."""
        os.close(self.registry.prepare(replace(META, incoming=True)))
        self.registry.publish(VM)

    def restored(self, contents: Contents) -> None:
        """A new instance, from a backup or another's state."""
        directory = self.registry.prepare(META)
        self.registry.fill(directory, contents)
        os.close(directory)
        self.registry.publish(VM)

    def found(self) -> tuple[bytes, bytes | None, Received | None] | None:
        """What the next daemon and its worker find; None if there is no instance.

        Nothing of it may be refused, nor taken for an older state than was seen.
        """
        entries = self.registry.load()
        if not entries:
            return None
        (entry,) = entries
        assert entry.fault is None
        admission = self.anchors.admit(VM)
        with self.state(admission.envelope.header.dek_id[0]) as state:
            permanent = state.load()
            state.settle()
            found = permanent, state.load_volatile(), state.received()
            if admission.after is not None:
                state.save(permanent, state.header.anew(bytes([7]) * 16, state.header))
            else:
                state.save(permanent)
        self.anchors.note(VM)
        self.anchors.admit(VM)
        return found


Told = list[object]
Scenario = tuple[Callable[[Host, Recording], None], Callable[[Host, Told], None]]


def _create(host: Host, recording: Recording) -> None:
    """Made, removed, and made anew from what a backup had kept."""
    host.create(b"first")
    recording.acknowledge("made")
    kept = Contents(VM, host.registry.sealed(VM)[1], {"ek.pem": b"of then"})
    recording.acknowledge("about to remove")
    host.registry.remove(VM)
    recording.acknowledge("removed")
    host.restored(kept)
    recording.acknowledge("restored")


def _created(host: Host, told: Told) -> None:
    """A whole instance or none, never one that cannot be served or is there without a word."""
    found = host.found()
    match told[-1:]:
        case ["made"] | ["restored"]:
            assert found is not None
        case ["removed"] if found is not None:
            assert host.registry.certificates(VM) == {"ek.pem": b"of then"}
    if found is not None:
        assert found == (b"first", None, None)
    if "restored" in told:
        assert host.registry.certificates(VM) == {"ek.pem": b"of then"}


def _arrive(host: Host, recording: Recording) -> None:
    """The first state of a place that waits for it, and two increments after that."""
    host.wait_for()
    recording.acknowledge("awaited")
    header = Header(VM, 40, "migration", key(1).dek_id, bytes(range(16)), 2)
    with host.state() as state:
        state.await_first()
        state.save(b"came", header.anew(bytes([3]) * 16, header))
        recording.acknowledge("came")
        state.repeat()
        host.anchors.note(VM)
        for number in range(2):
            state.save(b"came, then %d" % number)
            recording.acknowledge(number)


def _arrived(host: Host, told: Told) -> None:
    entries = host.registry.load()
    if not entries or host.registry.awaits(entries[0].metadata):
        assert "came" not in told
        assert bool(entries) or not told
        return
    found = host.found()
    assert found is not None
    newest = max((each for each in told if isinstance(each, int)), default=-1)
    states = [b"came", b"came, then 0", b"came, then 1"]
    assert found[0] in states[newest + 1 :]


def _hand_over(host: Host, recording: Recording) -> None:
    """Read for a migration, and taken back in a new epoch."""
    host.create(b"first")
    with host.state() as state:
        state.load()
        recording.acknowledge("ours")
        state.save(b"first", replace(state.header, handover="away"))
        recording.acknowledge("away")
        recording.acknowledge("about to take back")
        taken = state.header.anew(bytes([4]) * 16, state.header)
        state.save(b"first", replace(taken, handover="ours"))
        recording.acknowledge("taken back")


def _handed_over(host: Host, told: Told) -> None:
    if not told:
        host.found()
        return
    stored = host.registry.envelope(VM).header
    match told[-1]:
        case "away":
            assert stored.handover == "away"
        case "taken back":
            assert (stored.handover, stored.epoch) == ("ours", 1)
        case _:
            assert (stored.handover, stored.epoch) in (("ours", 0), ("away", 0), ("ours", 1))
    host.found()


def _rewrap(host: Host, recording: Recording) -> None:
    """A shallow rekey of a TPM that is stopped in the middle of its work."""
    host.create(b"first")
    with host.state() as state:
        state.load()
        state.save_volatile(b"volatile")
    recording.acknowledge("sealed")
    host.registry.rewrap(VM, OTHER_SLOTS)
    recording.acknowledge("rewrapped")


def _rewrapped(host: Host, told: Told) -> None:
    if not told:
        host.found()
        return
    slots = host.registry.envelope(VM).slots
    assert slots in ((OTHER_SLOTS,) if "rewrapped" in told else (SLOTS, OTHER_SLOTS))
    found = host.found()
    assert found is not None
    assert found[:2] == (b"first", b"volatile")


def _save(host: Host, recording: Recording) -> None:
    host.create(b"0")
    recording.acknowledge(0)
    with host.state() as state:
        state.load()
        for number in range(1, 6):
            permanent = b"%d" % number * (1 + 9000 * (number % 3))  # grows, and shrinks
            state.reserve()
            state.save(permanent)
            recording.acknowledge(number)
            if number in (2, 4):
                host.anchors.note(VM)


def _saved(host: Host, told: Told) -> None:
    found = host.found()
    if found is None:
        assert not told
        return
    assert int(found[0][:1]) >= max((each for each in told if isinstance(each, int)), default=0)
    assert len(set(found[0])) == 1


def _suspend(host: Host, recording: Recording) -> None:
    host.create(b"on the disk")
    recording.acknowledge("made")
    with host.state() as state:
        state.load()
        state.load_volatile()
        state.save_volatile(b"volatile")
        recording.acknowledge("suspended")
        host.anchors.note(VM)
        recording.acknowledge("about to resume")
        state.clear_volatile()
        recording.acknowledge("resumed")


def _suspended(host: Host, told: Told) -> None:
    found = host.found()
    if found is None:
        assert not told
        return
    permanent, volatile, _ = found
    assert permanent == b"on the disk"
    match told[-1:]:
        case ["suspended"]:
            assert volatile == b"volatile"
        case ["resumed"]:
            assert volatile is None
        case _:
            assert volatile in (None, b"volatile")


def _incoming(host: Host, recording: Recording) -> None:
    host.create(b"ours")
    recording.acknowledge("ours")
    header = Header(VM, 40, "migration", key(1).dek_id, bytes(range(16)), 2)
    received = Received(header, THEIRS, b"volatile of theirs")
    with host.state() as state:
        state.load()
        state.receive(received)
        recording.acknowledge("received")
        state.save(THEIRS, header.anew(bytes([3]) * 16, state.header))
        recording.acknowledge("promoted")
        state.forget_received()
        host.anchors.note(VM)


def _came_in(host: Host, told: Told) -> None:
    found = host.found()
    if found is None:
        assert not told
        return
    permanent, _, received = found
    assert permanent in (b"ours", THEIRS)
    assert received is None or (received.permanent, received.volatile) == (
        THEIRS,
        b"volatile of theirs",
    )
    if "promoted" in told:
        assert permanent == THEIRS
    elif "received" in told:
        assert permanent == THEIRS or received is not None


def _rekey(host: Host, recording: Recording) -> None:
    host.create(b"first")
    with host.state() as state:
        state.load()
        state.save_volatile(b"volatile")
        recording.acknowledge(1)
        state.rekey(key(2), b"first")
        recording.acknowledge(2)


def _rekeyed(host: Host, told: Told) -> None:
    if not told:
        host.found()
        return
    number = host.registry.envelope(VM).header.dek_id[0]
    assert number >= max(each for each in told if isinstance(each, int))
    found = host.found()
    assert found is not None
    assert found[:2] == (b"first", b"volatile")


def _restore(host: Host, recording: Recording) -> None:
    host.create(b"backed up")
    old = Contents(VM, host.registry.sealed(VM)[1], {"ek.pem": b"of then"})
    with host.state() as state:
        state.load()
        for number in range(3):
            state.save(b"since then %d" % number)
        state.load_volatile()
        state.save_volatile(b"volatile")
    host.anchors.note(VM)
    recording.acknowledge("since")
    host.anchors.accept(VM, parse(old.nvram).header.mark)
    host.registry.overwrite(META, old)
    recording.acknowledge("restored")


def _restored(host: Host, told: Told) -> None:
    found = host.found()
    if not told:
        return
    assert found is not None
    permanent, volatile, _ = found
    if "restored" in told:
        assert (permanent, volatile) == (b"backed up", None)
        assert host.registry.certificates(VM) == {"ek.pem": b"of then"}
    else:
        assert permanent in (b"backed up", b"since then 2")
        assert volatile is None or permanent == b"since then 2"


def _snapshot(host: Host, recording: Recording) -> None:
    host.create(b"first")
    for number in range(3):
        _, nvram = host.registry.sealed(VM)
        snapshots.add(host.registry, VM, f"s{number}", encode(META, nvram, {}))
        recording.acknowledge(number)
        with host.state() as state:
            state.load()
            state.save(b"later %d" % number)
    recording.acknowledge("about to remove")
    snapshots.remove(host.registry, VM, "s0")
    recording.acknowledge("removed")


def _snapped(host: Host, told: Told) -> None:
    if host.found() is None:
        assert not told
        return
    names = set(snapshots.names(host.registry, VM))
    for name in names:
        bundle = decode(snapshots.read(host.registry, VM, name))
        assert bytes(bundle.envelope.unseal(key(1).dek, VM)) in (b"first", b"later 0", b"later 1")
    made = {f"s{number}" for number in told if isinstance(number, int)}
    uncertain = {"s0"} if "about to remove" in told else set()
    assert made - uncertain <= names
    assert "removed" not in told or "s0" not in names


SCENARIOS: dict[str, Scenario] = {
    "create": (_create, _created),
    "save": (_save, _saved),
    "suspend": (_suspend, _suspended),
    "incoming": (_incoming, _came_in),
    "arrival": (_arrive, _arrived),
    "hand-over": (_hand_over, _handed_over),
    "rekey": (_rekey, _rekeyed),
    "rewrap": (_rewrap, _rewrapped),
    "restore": (_restore, _restored),
    "snapshot": (_snapshot, _snapped),
}
