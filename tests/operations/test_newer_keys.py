"""Keys of version 185, and what they protect, go along with their TPM wherever it goes."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, mldsa

from tests.faults.conftest import daemon, host
from tests.faults.machine import Machine
from tests.peers.vtpmd import Vtpmd
from tests.tpm import areas
from tests.tpm.areas import AES_128_CFB, DECRYPT, FIXED, NO_DA, OWN, SIGN, STORAGE, USER_AUTH
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.octet_keys import EDDSA
from tests.tpm.seeded_keys import H1, P1, signed
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import CC, ECC_CURVE, RH

__all__ = ["daemon", "host"]
SECRET, MESSAGE = b"the key of a disk", b"a message"
TEMPLATES = {
    0x81000100: areas.mlkem(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB),
    0x81000101: areas.mlkem(OWN | DECRYPT | NO_DA),
    0x81000102: areas.mldsa(OWN | SIGN | NO_DA),
    0x81000103: areas.ecc(OWN | SIGN | NO_DA, scheme=EDDSA, curve=ECC_CURVE.CURVE_448),
}
PARENT, KEM, MLDSA, ED = TEMPLATES


@dataclass
class Guest:
    """What a machine's TPM answers: as much of `tests.tpm.harness.Peer` as is needed."""

    machine: Machine

    def execute(self, command: bytes) -> bytes:
        return self.machine.data.execute(command)

    def set_locality(self, locality: int) -> None:
        raise NotImplementedError

    def hash_event(self, *pieces: bytes) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.machine.close()


def tpm_of(machine: Machine) -> Tester:
    return Tester(Guest(machine))


def evict(tpm: Tester, key: int, handle: int) -> None:
    """Make a key persistent at a handle; a persistent one is no longer."""
    parameters = handle.to_bytes(4)
    assert tpm.run(CC.EVICT_CONTROL, [RH.OWNER, key], parameters, [Password()]).rc == 0


@dataclass
class Keys:
    """Keys at handles, and what only their holder can open."""

    sealed: tuple[bytes, bytes]
    encapsulated: Result
    publics: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def made(cls, tpm: Tester) -> "Keys":
        for handle, template in TEMPLATES.items():
            key = areas.loaded_primary(tpm, template)
            evict(tpm, key, handle)
            areas.flush(tpm, key)
        child = areas.create(tpm, PARENT, areas.keyedhash(FIXED | USER_AUTH | NO_DA), data=SECRET)
        keys = cls((child.sized(0), child.sized(1)), tpm.run(CC.ENCAPSULATE, [KEM]))
        keys.publics = {each: tpm.run(CC.READ_PUBLIC, [each]).sized() for each in TEMPLATES}
        return keys

    def unsealed(self, tpm: Tester) -> bytes:
        loaded = areas.load(tpm, PARENT, *self.sealed)
        assert loaded.handle is not None, hex(loaded.rc)
        secret = tpm.run(CC.UNSEAL, [loaded.handle], auths=[Password()]).sized()
        areas.flush(tpm, loaded.handle)
        return secret

    def are_in(self, machine: Machine) -> bool:
        """Whether the TPM opens all of it, and signs what others verify."""
        tpm = tpm_of(machine)
        decapsulation = sized(self.encapsulated.sized(1))
        secret = tpm.run(CC.DECAPSULATE, [KEM], decapsulation, [Password()]).sized()
        by_mldsa, by_ed = (Result(0, None, signed(tpm, key, MESSAGE)[2:]) for key in (MLDSA, ED))
        mldsa.MLDSA44PublicKey.from_public_bytes(self.publics[MLDSA][-1312:]).verify(
            by_mldsa.sized(), MESSAGE
        )
        point = Result(0, None, self.publics[ED][-61:]).sized()
        ed448.Ed448PublicKey.from_public_bytes(point).verify(by_ed.sized(), MESSAGE)
        return secret == self.encapsulated.sized(0) and self.unsealed(tpm) == SECRET


@pytest.fixture
def target(host: Vtpmd, daemon: Vtpmd) -> Vtpmd:
    """Another host, which has the KEKs of the first."""
    daemon.end()
    (daemon.state / "keyring").write_bytes((host.state / "keyring").read_bytes())
    daemon.start()
    return daemon


def test_wherever_it_goes(host: Vtpmd, target: Vtpmd, tmp_path: Path) -> None:
    """Cloned both ways, turned back to a snapshot, moved to another host, and out of a backup."""
    original, file = host.create("original", "--profile", "pqc-v1"), tmp_path / "original.tar"
    with Machine(original) as machine:
        tpm = tpm_of(machine)
        keys = Keys.made(tpm)
        assert keys.are_in(machine)
        host.control("backup", "original", str(file))
        host.control("snapshot", "create", "original", "before")
        host.control("clone", "original", "copy", "--policy", "copy")
        host.control("clone", "original", "other", "--policy", "replace", "--yes")
        for handle in TEMPLATES:
            evict(tpm, handle, handle)
        assert tpm.run(CC.READ_PUBLIC, [MLDSA]).rc == RC.HANDLE + H1
    with Machine(host.instance("copy")) as machine:
        assert keys.are_in(machine)
    with Machine(host.instance("other")) as machine:
        tpm = tpm_of(machine)
        assert tpm.run(CC.READ_PUBLIC, [MLDSA]).rc == RC.HANDLE + H1
        for handle, public in Keys.made(tpm).publics.items():
            assert public != keys.publics[handle]
        assert areas.load(tpm, PARENT, *keys.sealed).rc == RC.INTEGRITY + P1
    original.stop()
    host.control("snapshot", "restore", "original", "before", "--yes", "--start")
    with Machine(original) as machine:
        assert keys.are_in(machine)
        uuid = original.info()["uuid"]
        target.control("create", "--incoming", "--uuid", uuid, "original")
        state = machine.control.read_state()
        with Machine(target.instance("original"), incoming=True) as moved:
            moved.take_in(state)
            assert keys.are_in(moved)
    original.stop()
    host.control("delete", "original", "--yes")
    host.control("restore", str(file))
    host.control("start", "original")
    with Machine(original) as machine:
        assert keys.are_in(machine)
