"""ML-DSA-87, whose signatures of 4,627 octets need a buffer of 8,192."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.areas import NO_DA, OWN, RESTRICTED, SIGN, words
from tests.tpm.commands.test_mldsa_attestation import NONCE, PCRS, accepted, attested
from tests.tpm.harness import EnginePeer, Password, Result, Tester
from tests.tpm.seeded_keys import (
    P1,
    P2,
    SIGNERS,
    complete_signing,
    mldsa_areas,
    sign_digest,
    signed,
    signing_public,
    start_signing,
    verified,
    verify_digest,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, MLDSA_PARMS, PT, RH

LARGE, SMALL = 8192, 4096
TEMPLATE = areas.mldsa(OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_87)
MU = bytes(range(64))
HANDLE = 0x81000100


def with_buffer(tester: Tester, size: int) -> None:
    assert isinstance(tester.peer, EnginePeer)
    tester.peer.engine.buffer_size = size


@pytest.fixture
def large(pqc: Tester) -> Tester:
    """A TPM whose host has agreed to the largest buffer."""
    with_buffer(pqc, LARGE)
    return pqc


def parameter_sets(tester: Tester) -> int:
    params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.ML_PARAMETER_SETS, 1)
    return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=params).parameters[-4:])


def test_the_parameter_set_comes_and_goes_with_the_buffer(pqc: Tester) -> None:
    parameters = words(ALG.MLDSA, MLDSA_PARMS.MLDSA_87) + b"\0"
    hashed = words(ALG.HASH_MLDSA, MLDSA_PARMS.MLDSA_87, ALG.SHA512)
    for size, code, reported in (
        (3968, RC.PARMS | 0x140, 0),
        (SMALL, RC.PARMS | 0x140, 0),
        (LARGE - 1, RC.PARMS | 0x140, 0),
        (LARGE, 0, 1 << 5),
        (SMALL, RC.PARMS | 0x140, 0),
    ):
        with_buffer(pqc, size)
        assert pqc.run(CC.TEST_PARMS, params=parameters).rc == code
        assert pqc.run(CC.TEST_PARMS, params=hashed).rc == code
        assert parameter_sets(pqc) & 1 << 5 == reported
        created = areas.create_primary(pqc, TEMPLATE)
        assert created.rc == (code and RC.PARMS | P2)
        if created.handle is not None:
            areas.flush(pqc, created.handle)


def test_the_largest_buffer_is_the_profiles(pqc: Tester, tester: Tester) -> None:
    for tpm, largest in ((pqc, LARGE), (tester, SMALL)):
        with_buffer(tpm, 1 << 20)
        params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.MAX_COMMAND_SIZE, 2)
        found = struct.unpack(">4I", tpm.run(CC.GET_CAPABILITY, params=params).parameters[-16:])
        assert found == (PT.MAX_COMMAND_SIZE, largest, PT.MAX_RESPONSE_SIZE, largest)
        too_long = b"\x80\1" + (largest + 1).to_bytes(4) + struct.pack(">I", CC.HASH)
        answer = tpm.peer.execute(too_long.ljust(largest + 1, b"\0"))
        assert int.from_bytes(answer[6:]) == RC.COMMAND_SIZE


def test_others_accept_its_signatures(large: Tester) -> None:
    key = areas.loaded_external(large, *mldsa_areas(parms=MLDSA_PARMS.MLDSA_87))
    signature = signed(large, key, b"message", b"context")
    octets = Result(0, None, signature[2:]).sized()
    oracle, public = SIGNERS[MLDSA_PARMS.MLDSA_87], signing_public(MLDSA_PARMS.MLDSA_87)
    assert oracle.verify(public, b"message", octets, b"context")
    assert verified(large, key, b"message", signature, b"context").rc == 0
    assert verified(large, key, b"massage", signature, b"context").rc == RC.SIGNATURE | P1


def test_attestation(large: Tester) -> None:
    template = areas.mldsa(OWN | SIGN | RESTRICTED | NO_DA, parms=MLDSA_PARMS.MLDSA_87)
    created = areas.create_primary(large, template)
    assert created.handle is not None
    quote = attested(large, CC.QUOTE, [created.handle], NONCE + words(ALG.NULL) + PCRS, 1)
    assert accepted(created.sized(0), quote)


def test_a_key_that_was_made_with_a_larger_buffer(large: Tester) -> None:
    """It stays what it is; what it would sign is refused before anything has changed."""
    areas_of_key = mldsa_areas(parms=MLDSA_PARMS.MLDSA_87, external_mu=True)
    key = areas.loaded_external(large, *areas_of_key)
    signature = sign_digest(large, key, MU).parameters
    own = areas.loaded_primary(large, TEMPLATE)
    saved = large.run(CC.CONTEXT_SAVE, [own])
    assert saved.rc == 0
    evict = HANDLE.to_bytes(4)
    assert large.run(CC.EVICT_CONTROL, [RH.OWNER, own], evict, [Password()]).rc == 0
    areas.flush(large, own)
    with_buffer(large, SMALL)
    assert isinstance(large.peer, EnginePeer)
    large.peer.carry_over()
    with_buffer(large, SMALL)
    public = large.run(CC.READ_PUBLIC, [HANDLE])
    assert len(public.sized()) > 2592
    assert sign_digest(large, key, MU).rc == RC.SIZE
    started = start_signing(large, HANDLE)
    assert started.handle is not None
    assert complete_signing(large, started.handle, HANDLE, b"message").rc == RC.SIZE
    with_buffer(large, LARGE)
    assert complete_signing(large, started.handle, HANDLE, b"message").rc == 0, "still there"
    loaded = large.run(CC.CONTEXT_LOAD, params=saved.parameters)
    assert loaded.handle is not None
    assert verify_digest(large, key, MU, signature).rc == 0


def test_persistent_objects_count_for_what_they_take(large: Tester) -> None:
    assert isinstance(large.peer, EnginePeer)
    key = areas.loaded_primary(large, TEMPLATE)
    before = len(large.peer.engine.permanent())
    available = struct.pack(">III", CAP.TPM_PROPERTIES, PT.HR_PERSISTENT_AVAIL, 1)
    free = int.from_bytes(large.run(CC.GET_CAPABILITY, params=available).parameters[-4:])
    evict = HANDLE.to_bytes(4)
    assert large.run(CC.EVICT_CONTROL, [RH.OWNER, key], evict, [Password()]).rc == 0
    grown = len(large.peer.engine.permanent()) - before
    handles = large.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.HANDLES, 0x81 << 24, 99))
    held = int.from_bytes(handles.parameters[5:9])
    assert 128 * 1024 // (free + held) >= grown, "of an equal part of all the room"
