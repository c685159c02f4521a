"""Keys of version 185 and the sequences they have begun go along with a migrating machine."""

import struct
from pathlib import Path

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, OWN, SIGN, words
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.octet_keys import octet_areas, signing_key
from tests.tpm.seeded_keys import (
    SIGNERS,
    complete_verifying,
    signed,
    start_verifying,
    update,
)
from tests.worker.harness import Host, Qemu, Zygote, control, get_blob, prepare
from tests.worker.test_migration import PERMANENT, SAVESTATE, VOLATILE, set_blob
from tests.worker.test_succession import Machine
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, MLDSA_PARMS, RH

PERSISTENT = 0x81000100


def test_they_go_along(host: Host, zygote: Zygote, tmp_path: Path) -> None:
    host.forget()
    host.manufacture(profile="pqc-v1")
    worker = host.serve()
    root = tmp_path / "target"
    root.mkdir()
    other = Host(zygote, root, workers=host.workers)
    prepare(other.state)
    (other.state / "nvram").write_bytes((host.state / "nvram").read_bytes())
    there = other.serve()
    message = bytes(3000)
    octets = signing_key(ECC_CURVE.CURVE_448).sign(message)
    with Qemu(host.control_path) as qemu, Qemu(other.control_path) as target:
        control(qemu.control, 0x0E)
        control(qemu.control, 0x02, bytes(4))
        tester = Tester(Machine(host, worker, qemu, every_command=False))
        assert tester.startup() == 0
        template = areas.mldsa(OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_65)
        made = areas.create_primary(tester, template)
        assert made.handle is not None
        params = PERSISTENT.to_bytes(4)
        assert tester.run(CC.EVICT_CONTROL, [RH.OWNER, made.handle], params, [Password()]).rc == 0
        areas.flush(tester, made.handle)
        kem = areas.loaded_primary(tester, areas.mlkem(OWN | DECRYPT | NO_DA))
        encapsulated = tester.run(CC.ENCAPSULATE, [kem])
        key = areas.loaded_external(tester, octet_areas(ECC_CURVE.CURVE_448)[0])
        started = start_verifying(tester, key, hint=octets[:57])
        assert started.handle is not None
        update(tester, started.handle, message[:1000])
        permanent, volatile = (get_blob(qemu.control, kind) for kind in (PERMANENT, VOLATILE))

        assert control(target.control, 0x0E) == bytes(4)
        for kind, blob in ((PERMANENT, permanent), (VOLATILE, volatile), (SAVESTATE, b"")):
            assert set_blob(target.control, kind, blob) == 0
        assert control(target.control, 0x02, struct.pack(">I", 1)) == bytes(4)
        tester.peer = Machine(other, there, target, every_command=False)
        update(tester, started.handle, message[1000:2000], message[2000:])
        signature = words(ALG.EDDSA) + sized(octets)
        assert complete_verifying(tester, started.handle, key, signature).rc == 0
        secret = tester.run(CC.DECAPSULATE, [kem], sized(encapsulated.sized(1)), [Password()])
        assert secret.sized() == encapsulated.sized(0)
        own = Result(0, None, signed(tester, PERSISTENT, message[:9])[2:]).sized()
        public = made.sized(0)[-1952:]
        assert SIGNERS[MLDSA_PARMS.MLDSA_65].verify(public, message[:9], own, b"")
