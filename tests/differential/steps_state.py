"""Steps of a walk: hierarchies, lockout, PCRs, audit, power."""

import struct
from random import Random

from tests.differential.world import (
    ENDORSEMENT,
    LOCKOUT,
    NULL,
    OWNER,
    PLATFORM,
    World,
    everything,
    nothing,
)
from tests.tpm.areas import words
from tests.tpm.harness import Result, sized
from vtpmd.tpm.wire.constants import ALG, CAP, CC, PT, RH, SU

AUTHS = (b"", b"", b"owner", b"password")
BANKS = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)
SIZES = {ALG.SHA1: 20, ALG.SHA256: 32, ALG.SHA384: 48, ALG.SHA512: 64}
AUDITABLE = (CC.PCR_EXTEND, CC.PCR_RESET, CC.CLEAR_CONTROL, CC.DICTIONARY_ATTACK_PARAMETERS)
"""Commands without random numbers in parameters or response: their digest is the same in both."""


def change_auth(world: World, draw: Random) -> None:
    hierarchy, new = draw.choice((OWNER, ENDORSEMENT, PLATFORM, LOCKOUT)), draw.choice(AUTHS)
    auths = [world.authorize(draw, hierarchy, next_auth=new)]
    results = world.run(CC.HIERARCHY_CHANGE_AUTH, [hierarchy], sized(new), auths)
    if not results[0].rc:
        world.auths[hierarchy] = new


def control(world: World, draw: Random) -> None:
    by = draw.choice((OWNER, ENDORSEMENT, PLATFORM, PLATFORM))
    of = draw.choice((by, OWNER, ENDORSEMENT, int(RH.PLATFORM_NV)))
    state = draw.choice((0, 1, 1))
    auths = [world.authorize(draw, by)]
    params = of.to_bytes(4) + bytes((state,))
    results = world.run(CC.HIERARCHY_CONTROL, [by], params, auths)
    if not results[0].rc and not state:
        world.forget(of, persistent=False)


def set_policy(world: World, draw: Random) -> None:
    by = draw.choice((OWNER, ENDORSEMENT, PLATFORM, LOCKOUT))
    policy = draw.choice((b"", bytes(32)))
    params = sized(policy) + words(ALG.SHA256 if policy else ALG.NULL)
    world.run(CC.SET_PRIMARY_POLICY, [by], params, [world.authorize(draw, by)])


def clear(world: World, draw: Random) -> None:
    by = draw.choice((LOCKOUT, PLATFORM))
    auths = [world.authorize(draw, by, next_auth=b"" if by == LOCKOUT else None)]
    results = world.run(CC.CLEAR, [by], auths=auths)
    if not results[0].rc:
        for hierarchy in (OWNER, ENDORSEMENT):
            world.forget(hierarchy)
        kept = {handle: auth for handle, auth in world.auths.items() if handle == PLATFORM}
        # An index of the platform stays; whether one is that, only a TPM knows.
        kept |= {handle: auth for handle, auth in world.auths.items() if handle >> 24 == 1}
        world.auths = kept
        world.synchronize()


def clear_control(world: World, draw: Random) -> None:
    by = draw.choice((LOCKOUT, PLATFORM))
    params = bytes((draw.choice((0, 0, 1)),))
    world.run(CC.CLEAR_CONTROL, [by], params, [world.authorize(draw, by)])


def change_seed(world: World, draw: Random) -> None:
    code, hierarchy = draw.choice(((CC.CHANGE_EPS, ENDORSEMENT), (CC.CHANGE_PPS, PLATFORM)))
    results = world.run(code, [PLATFORM], auths=[world.authorize(draw, PLATFORM)])
    if not results[0].rc:
        world.forget(hierarchy)
        if code == CC.CHANGE_EPS:
            world.auths.pop(ENDORSEMENT, None)
        world.synchronize()


def lockout(world: World, draw: Random) -> None:
    """Parameters of the dictionary attack logic; no time passes that counts."""
    auths = [world.authorize(draw, LOCKOUT)]
    if draw.random() < 0.5:
        world.run(CC.DICTIONARY_ATTACK_LOCK_RESET, [LOCKOUT], auths=auths)
        return
    params = struct.pack(">III", draw.choice((0, 1, 3, 10, 10)), 100_000, draw.choice((0, 100_000)))
    world.run(CC.DICTIONARY_ATTACK_PARAMETERS, [LOCKOUT], params, auths)


def extend(world: World, draw: Random) -> None:
    pcr = draw.choice((0, 1, 2, 7, 16, 17, 20, 21, 23, int(RH.NULL)))
    auths = [world.authorize(draw, pcr)]
    match draw.randrange(3):
        case 0:
            chosen = draw.sample(BANKS, draw.randrange(4))
            digests = b"".join(words(bank) + draw.randbytes(SIZES[bank]) for bank in chosen)
            params = len(chosen).to_bytes(4) + digests
            world.run(CC.PCR_EXTEND, [pcr], params, auths)
        case 1:
            world.run(CC.PCR_EVENT, [pcr], sized(draw.randbytes(20)), auths)
        case _:
            world.run(CC.PCR_RESET, [pcr], b"", auths)


def read_pcrs(world: World, draw: Random) -> None:
    for bank in BANKS:
        for mask in (b"\xff\0\0", b"\0\0\xff"):
            world.run(CC.PCR_READ, params=(1).to_bytes(4) + words(bank) + b"\3" + mask)


def audit(world: World, draw: Random) -> None:
    by = draw.choice((OWNER, PLATFORM))
    alg = draw.choice((ALG.NULL, ALG.NULL, ALG.SHA256, ALG.SHA512))
    lists = [b"", b""]
    if alg == ALG.NULL:
        lists[draw.randrange(2)] = draw.choice(AUDITABLE).to_bytes(4)
    params = words(alg) + b"".join((len(each) // 4).to_bytes(4) + each for each in lists)
    auths = [world.authorize(draw, by)]
    world.run(CC.SET_COMMAND_CODE_AUDIT_STATUS, [by], params, auths)


def locality(world: World, draw: Random) -> None:
    world.locality = draw.choice((0, 0, 1, 2, 3, 4))
    world.history.append(f"locality {world.locality}")
    for tester in world.testers:
        tester.peer.set_locality(world.locality)


def power(world: World, draw: Random) -> None:
    """An orderly power cycle: TPM Reset, TPM Restart or TPM Resume."""
    shutdown, startup = draw.choice(((SU.STATE, SU.STATE), (SU.STATE, SU.CLEAR), (SU.CLEAR,) * 2))
    results = world.run(CC.SHUTDOWN, params=shutdown.to_bytes(2))
    if results[0].rc:
        return
    world.objects = {h: kept for h, kept in world.objects.items() if h >> 24 == 0x81}
    world.sessions.clear()
    world.history.append("power cycle")
    for tester in world.testers:
        tester.peer.set_locality(0)
        tester.peer.reset()
        tester.peer.set_locality(0)
    world.locality = 0
    world.run(CC.STARTUP, params=startup.to_bytes(2))
    if startup == SU.CLEAR:
        world.auths.pop(PLATFORM, None)


VARIABLE = (
    *(PT.PERMANENT, PT.STARTUP_CLEAR, PT.HR_NV_INDEX, PT.HR_LOADED, PT.HR_LOADED_AVAIL),
    *(PT.HR_ACTIVE, PT.HR_ACTIVE_AVAIL, PT.HR_TRANSIENT_AVAIL, PT.NV_COUNTERS),
    *(PT.LOCKOUT_COUNTER, PT.MAX_AUTH_FAIL, PT.LOCKOUT_INTERVAL, PT.LOCKOUT_RECOVERY),
)


def look(world: World, draw: Random) -> None:
    """Whatever the TPMs tell of themselves that may change."""
    for first in (0x01500000, 0x02000000, 0x03000000, 0x80000000):
        world.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.HANDLES, first, 100))
    for kind in (CAP.PCRS, CAP.AUDIT_COMMANDS, CAP.PP_COMMANDS):
        world.run(CC.GET_CAPABILITY, params=struct.pack(">III", kind, 0, 100))
    for tag in VARIABLE:
        world.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.TPM_PROPERTIES, tag, 1))
    params = struct.pack(">III", CAP.AUTH_POLICIES, 0x40000000, 4)
    world.run(CC.GET_CAPABILITY, params=params, compare=_policies)
    world.run(CC.READ_CLOCK, compare=_counts)


def _policies(result: Result) -> object:
    """Those of the hierarchies, without moreData: we have countdown timers, too."""
    return result.parameters[1:]


def _counts(result: Result) -> object:
    """Counts of resets and restarts, and whether Clock is safe."""
    return result.parameters[16:]


def sequences(world: World, draw: Random) -> None:
    """A hash of several pieces, in one go."""
    alg, data = draw.choice(BANKS), draw.randbytes(draw.choice((0, 4, 64, 200)))
    hierarchy = draw.choice((NULL, OWNER, ENDORSEMENT, PLATFORM))
    params = sized(data) + words(alg) + hierarchy.to_bytes(4)
    world.run(CC.HASH, params=params, compare=everything)
    if world.free():
        started = world.run(CC.HASH_SEQUENCE_START, params=sized(b"") + words(alg))[0]
        if started.handle is not None:
            handle = started.handle
            world.run(CC.SEQUENCE_UPDATE, [handle], sized(data), [world.password(handle)])
            params = sized(b"end") + hierarchy.to_bytes(4)
            auths = [world.authorize(draw, handle)]
            ended = world.run(CC.SEQUENCE_COMPLETE, [handle], params, auths)[0]
            if ended.rc:
                world.run(CC.FLUSH_CONTEXT, params=handle.to_bytes(4))
    world.run(CC.GET_RANDOM, params=words(8), compare=nothing)


STEPS = {
    change_auth: 4,
    control: 3,
    set_policy: 2,
    clear: 1,
    clear_control: 1,
    change_seed: 1,
    lockout: 3,
    extend: 8,
    read_pcrs: 2,
    audit: 3,
    locality: 3,
    power: 2,
    look: 4,
    sequences: 4,
}
