"""Mistakes of other TPMs, shown not to be made here: a table or structure that lacks something.

Handles of hierarchies, localities of PCRs, attributes of commands, fields of structures.
"""

import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.tpm import areas
from tests.tpm.agreement import agreed, parameter_error
from tests.tpm.areas import DECRYPT, SIGN, words
from tests.tpm.commands import nv_area
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area, define
from tests.tpm.harness import Password, Result, Tester, sized
from tests.tpm.known_keys import Pair, ecc_areas, ecc_key, point
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, RH, ST

Both = tuple[Tester, Tester]
ZERO = bytes(32)


def test_private_parts_from_outside_belong_to_no_hierarchy(both: Both) -> None:
    for hierarchy in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
        answer = agreed(both, areas.load_external, *ecc_areas(SIGN), hierarchy=hierarchy)
        assert answer.rc == parameter_error(RC.HIERARCHY, 3)


def test_ecdaa_has_a_count(pair: Pair) -> None:
    """In the scheme of a key and in that of a command; without it what follows is misread."""
    scheme = words(ALG.ECDAA, ALG.SHA256, 7)
    public, private = ecc_areas(SIGN, scheme)
    handle = pair.load((public, private))
    read = pair.same(CC.READ_PUBLIC, (handle,))
    assert (read.sized(), read.sized(1)) == (public, areas.name_of(public))
    pair.flush(handle)
    short = public.replace(scheme, scheme[:4])
    # What follows is taken for the count, and the next for a curve that only libtpms has.
    loaded = areas.load_external(pair.engine, short, private)
    assert loaded.rc == parameter_error(RC.CURVE, 2)
    assert areas.load_external(pair.swtpm, short, private).rc == parameter_error(RC.HASH, 2)
    handle = pair.load(ecc_areas(SIGN))
    ticket = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + sized(b"")
    params = sized(ZERO) + scheme[:4] + ticket
    answer = pair.engine.run(CC.SIGN, [handle], params, [Password()])
    assert answer.rc == parameter_error(RC.TAG, 3)


OWNER_END, PLATFORM_START = 0x817FFFFF, 0x81800000


@pytest.mark.parametrize(
    ("by", "of", "persistent", "rc"),
    [
        (RH.OWNER, RH.OWNER, OWNER_END, 0),
        (RH.OWNER, RH.OWNER, PLATFORM_START, RC.RANGE | 0x140),
        (RH.OWNER, RH.ENDORSEMENT, OWNER_END, 0),
        (RH.OWNER, RH.PLATFORM, OWNER_END, RC.HIERARCHY | 0x200),
        (RH.PLATFORM, RH.PLATFORM, PLATFORM_START, 0),
        (RH.PLATFORM, RH.PLATFORM, OWNER_END, RC.RANGE | 0x140),
        (RH.PLATFORM, RH.OWNER, PLATFORM_START, RC.HIERARCHY | 0x200),
        (RH.OWNER, RH.NULL, OWNER_END, RC.ATTRIBUTES | 0x200),
    ],
)
def test_each_hierarchy_has_its_persistent_handles(
    both: Both, by: int, of: int, persistent: int, rc: int
) -> None:
    for tester in both:
        made = areas.create_primary(tester, areas.storage(), hierarchy=of)
        assert made.handle is not None
        params = persistent.to_bytes(4)
        answer = tester.run(CC.EVICT_CONTROL, [by, made.handle], params, [Password()])
        assert answer.rc == rc


def test_clear_removes_all_of_the_owner(both: Both) -> None:
    """Persistent objects of storage and endorsement, indices, authValues; not the platform's."""
    for tester in both:
        for hierarchy, by, persistent in (
            (RH.OWNER, RH.OWNER, 0x81000001),
            (RH.ENDORSEMENT, RH.OWNER, 0x81000002),
            (RH.PLATFORM, RH.PLATFORM, PLATFORM_START),
        ):
            made = areas.create_primary(tester, areas.storage(), hierarchy=hierarchy)
            assert made.handle is not None
            params = persistent.to_bytes(4)
            kept = tester.run(CC.EVICT_CONTROL, [by, made.handle], params, [Password()])
            assert kept.rc == 0
            areas.flush(tester, made.handle)
        assert define(tester, Area(OWNER_RW)).rc == 0
        of_platform = Area(nv_area.PLATFORM_RW | TPMA_NV.PLATFORMCREATE, index=INDEX + 1)
        assert define(tester, of_platform, by=RH.PLATFORM).rc == 0
        change = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"auth"), [Password()])
        assert change.rc == 0
        assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
        for handle in (0x81000001, 0x81000002):
            assert tester.run(CC.READ_PUBLIC, [handle]).rc == RC.HANDLE | 0x100
        assert tester.run(CC.READ_PUBLIC, [PLATFORM_START]).rc == 0
        assert tester.run(CC.NV_READ_PUBLIC, [INDEX]).rc == RC.HANDLE | 0x100
        assert tester.run(CC.NV_READ_PUBLIC, [INDEX + 1]).rc == 0
        again = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b""), [Password()])
        assert again.rc == 0


EXTENDS = [*[0b11111] * 17, 0b11100, 0b11100, 0b01100, 0b01110, 0b00100, 0b00100, 0b11111]

RESETS = [*[0] * 16, 0b01111, 0, 0, 0, 0b00100, 0b00100, 0b00100, 0b01111]


def test_every_pcr_has_its_localities(both: Both) -> None:
    """Table 5 of the PC Client profile: who may extend and who may reset which PCR.

    What locality 4 resets, a D-RTM event does and no command.
    """
    one = (1).to_bytes(4) + words(ALG.SHA256) + ZERO
    for tester in both:
        for number in range(5):
            tester.peer.set_locality(number)
            for pcr in range(24):
                extended = tester.run(CC.PCR_EXTEND, [pcr], one, [Password()]).rc
                assert extended == (0 if EXTENDS[pcr] >> number & 1 else RC.LOCALITY), (
                    number,
                    pcr,
                    tester.peer,
                )
                reset = tester.run(CC.PCR_RESET, [pcr], b"", [Password()]).rc
                assert reset == (0 if RESETS[pcr] >> number & 1 else RC.LOCALITY), (
                    number,
                    pcr,
                    tester.peer,
                )
        tester.peer.set_locality(0)


def command_attributes(tester: Tester) -> dict[int, int]:
    """TPMA_CC by command code."""
    params = struct.pack(">III", CAP.COMMANDS, 0, 0xFFFF)
    listed = tester.run(CC.GET_CAPABILITY, params=params).parameters[9:]
    found = [int.from_bytes(listed[at : at + 4]) for at in range(0, len(listed), 4)]
    return {attributes & 0xFFFF: attributes for attributes in found}


def test_attributes_of_commands(both: Both) -> None:
    """flushed, rHandle and cHandles decide what a resource manager does with handles."""
    ours, theirs = (command_attributes(tester) for tester in both)
    assert ours[CC.FLUSH_CONTEXT] == CC.FLUSH_CONTEXT
    assert ours[CC.SEQUENCE_COMPLETE] == 1 << 24 | 1 << 25 | CC.SEQUENCE_COMPLETE
    assert set(theirs) <= set(ours)
    assert {code: ours[code] for code in theirs} == theirs


def test_shared_secrets_keep_their_leading_zeros(pair: Pair) -> None:
    """A coordinate of ZGen and of ZGen_2Phase is as long as the curve's field."""
    own = ecc_key()
    while True:
        peer = ec.generate_private_key(ec.SECP256R1())
        shared = own.exchange(ec.ECDH(), peer.public_key())
        if not shared[0]:
            break
    x, y = point(peer.public_key())
    handle = pair.load(ecc_areas(DECRYPT))
    there = sized(sized(x) + sized(y))
    z = pair.same(CC.ECDH_ZGEN, (handle,), there, 1)
    assert Result(0, None, z.sized()).sized() == shared
    answers = pair.run(CC.EC_EPHEMERAL, (), words(ECC_CURVE.NIST_P256))
    for tester, ephemeral in zip((pair.engine, pair.swtpm), answers, strict=True):
        params = there + there + words(ALG.ECDH) + ephemeral.parameters[-2:]
        z = tester.run(CC.ZGEN_2PHASE, [handle], params, [Password()])
        assert z.rc == 0
        assert Result(0, None, z.sized()).sized() == shared


def test_what_is_not_offered_is_not_half_offered(tester: Tester) -> None:
    """Post-quantum algorithms were created, but forgotten by the commands that use keys."""
    listed = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.ALGS, 0, 0xFFFF))
    algorithms = {
        int.from_bytes(listed.parameters[at : at + 2]) for at in range(9, len(listed.parameters), 6)
    }
    for absent in (0x00A0, 0x00A1, 0x00A2):
        assert absent not in algorithms
        answer = tester.run(CC.TEST_PARMS, params=words(absent, ALG.NULL, 2))
        assert answer.rc == parameter_error(RC.TYPE, 1)
    for key_encapsulation in (0x1A7, 0x1A8):
        assert tester.run(key_encapsulation).rc == RC.COMMAND_CODE
