"""Steps of a walk: sessions are started, made to hold policies, audited, saved and brought back."""

import struct
from dataclasses import replace
from random import Random

from tests.differential.steps_objects import SCHEMES, salt
from tests.differential.world import (
    ENDORSEMENT,
    LOCKOUT,
    NULL,
    OWNER,
    Loaded,
    Started,
    World,
    everything,
    nothing,
)
from tests.tpm.areas import words
from tests.tpm.commands.nv_area import INDEX
from tests.tpm.commands.policy_steps import either, pcr
from tests.tpm.harness import Result, Session, kdfa, sized
from vtpmd.tpm.wire.constants import ALG, CC, SE

HASHES = (ALG.SHA256, ALG.SHA256, ALG.SHA1, ALG.SHA512)
PCRS = ((1).to_bytes(4) + words(ALG.SHA256) + b"\3\7\0\1", bytes(4))


def start(world: World, draw: Random) -> None:
    kind = draw.choice((SE.HMAC, SE.HMAC, SE.POLICY, SE.POLICY, SE.TRIAL))
    alg = draw.choice(HASHES)
    bind = draw.choice((NULL, NULL, OWNER, LOCKOUT, INDEX, *world.transient()))
    symmetric = draw.choice(
        (words(ALG.NULL), words(ALG.AES, 128, ALG.CFB), words(ALG.AES, 256, ALG.CFB))
    )
    if draw.random() < 0.2:
        symmetric = words(ALG.XOR, alg)
    salted = salt(world, draw) or (NULL, (b"", b""), (b"", b""))
    nonce = draw.randbytes(16)
    tail = bytes((kind,)) + symmetric + words(alg)
    ours, theirs = (sized(nonce) + sized(salted[2][side]) + tail for side in (0, 1))
    auth = world.auth_of(bind)
    names = world.names(bind)
    results = world.run(CC.START_AUTH_SESSION, [salted[0], bind], (ours, theirs), compare=nothing)
    if results[0].rc:
        return
    sessions = []
    for side, result in enumerate(results):
        key = b""
        if bind != NULL or salted[0] != NULL:
            secret = auth + salted[1][side]
            key = kdfa(alg, secret, b"ATH", result.sized(), nonce, _bits(alg))
        assert result.handle is not None
        aes_bits = int.from_bytes(symmetric[2:4]) if symmetric[:2] == words(ALG.AES) else 0
        sessions.append(Session(result.handle, alg, result.sized(), key, aes_bits=aes_bits))
    bound = (bind, auth, names) if bind != NULL and kind == SE.HMAC else None
    encrypts = symmetric != words(ALG.NULL)
    started = Started((sessions[0], sessions[1]), kind, alg, encrypts, bound)
    world.sessions[started.handle] = started


def _bits(alg: int) -> int:
    return {ALG.SHA1: 160, ALG.SHA256: 256, ALG.SHA512: 512}[ALG(alg)]


def assertion(world: World, draw: Random) -> None:
    """A policy command, in a session of any kind."""
    if not world.sessions:
        return
    started = draw.choice(list(world.sessions.values()))
    code, params = _assertion(world, draw, started.alg)
    results = world.run(code, [started.handle], params)
    if not results[0].rc:
        if code == CC.POLICY_AUTH_VALUE:
            started.needs = "value"
        elif code == CC.POLICY_PASSWORD:
            started.needs = "password"
        elif code == CC.POLICY_RESTART:
            started.needs = ""


def _assertion(world: World, draw: Random, alg: int) -> tuple[int, bytes]:
    name = sized(words(ALG.SHA256) + draw.randbytes(1) * 32)
    digest = draw.choice((bytes(32), b"\1" * 32, bytes(20), b""))
    steps: list[tuple[int, bytes]] = [
        (CC.POLICY_COMMAND_CODE, draw.choice((CC.UNSEAL, CC.SIGN, CC.NV_READ)).to_bytes(4)),
        (CC.POLICY_LOCALITY, bytes((draw.choice((0, 1, 1, 2, 31, 32, 33)),))),
        (CC.POLICY_AUTH_VALUE, b""),
        (CC.POLICY_PASSWORD, b""),
        (CC.POLICY_PHYSICAL_PRESENCE, b""),
        (CC.POLICY_NV_WRITTEN, bytes((draw.choice((0, 1)),))),
        (CC.POLICY_CP_HASH, sized(digest)),
        (CC.POLICY_NAME_HASH, sized(digest)),
        (CC.POLICY_TEMPLATE, sized(digest)),
        (CC.POLICY_DUPLICATION_SELECT, name + name + bytes((draw.choice((0, 1)),))),
        (CC.POLICY_PCR, pcr(alg, [bytes(32)], bits=1 << 7).params),
        (CC.POLICY_PCR, sized(b"") + draw.choice(PCRS)),
        (CC.POLICY_OR, either(digest, bytes(32)).params),
        (CC.POLICY_GET_DIGEST, b""),
        (CC.POLICY_RESTART, b""),
        (CC.POLICY_COUNTER_TIMER, sized(bytes(4)) + words(16, draw.randrange(12))),
    ]
    return draw.choice(steps)


def secret(world: World, draw: Random) -> None:
    """TPM2_PolicySecret; a ticket has a time in it."""
    if not world.sessions:
        return
    started = draw.choice(list(world.sessions.values()))
    # The Name goes into the policy, so that it has to be the same in both.
    alike = [h for h in world.transient() if world.names(h)[0] == world.names(h)[1]]
    entity = draw.choice((OWNER, ENDORSEMENT, LOCKOUT, INDEX, *alike))
    expiration = draw.choice((0, 0, 10_000, -10_000))
    nonces = [b"", b""] if draw.random() < 0.5 else [each.nonce_tpm for each in started.both]
    tail = sized(b"") + sized(draw.choice((b"", b"reference"))) + struct.pack(">i", expiration)
    auths = [world.authorize(draw, entity)]
    ours, theirs = (sized(nonce) + tail for nonce in nonces)
    handles = [entity, started.handle]
    world.run(CC.POLICY_SECRET, handles, (ours, theirs), auths, compare=_without_time)


def _without_time(result: Result) -> object:
    return len(result.sized())


def policy_nv(world: World, draw: Random) -> None:
    if not world.sessions:
        return
    started = draw.choice(list(world.sessions.values()))
    by = draw.choice((OWNER, INDEX))
    operand = sized(draw.choice((bytes(8), b"\1", bytes(9))))
    params = operand + words(draw.choice((0, 0, 4)), draw.randrange(13))
    auths = [world.authorize(draw, by)]
    world.run(CC.POLICY_NV, [by, INDEX, started.handle], params, auths)


def save(world: World, draw: Random) -> None:
    handle = draw.choice((*world.transient(), *world.sessions, 0x80000002))
    results = world.run(CC.CONTEXT_SAVE, [handle], compare=_saved)
    if results[0].rc:
        return
    thing = world.objects[handle] if handle in world.objects else world.sessions.pop(handle)
    contexts = (results[0].parameters, results[1].parameters)
    world.contexts = [*world.contexts[-7:], (contexts, thing)]


def _saved(result: Result) -> object:
    # The sequence counts what has been saved, each in its own way; see Part 2, 14.2.
    return result.parameters[8:16]


def load(world: World, draw: Random) -> None:
    if not world.contexts:
        return
    context, thing = draw.choice(world.contexts)
    if draw.random() < 0.1:
        position = draw.randrange(20, min(map(len, context)))
        ours, theirs = (
            each[:position] + bytes((each[position] ^ 1,)) + each[position + 1 :]
            for each in context
        )
        if position in (20, 21, 84, 85):
            return
        context = ours, theirs
    results = world.run(CC.CONTEXT_LOAD, params=context, compare=everything)
    if isinstance(thing, Loaded):
        world.add(results, replace(thing))
    elif not results[0].rc:
        world.sessions[thing.handle] = thing


def attest(world: World, draw: Random) -> None:
    """Every kind of attestation, the clock and the version of which differ."""
    key = world.an_object(draw)
    about = world.an_object(draw)
    if key is None or about is None or not world.free(2):
        return
    scheme, data = draw.choice(SCHEMES), sized(b"data")
    compare = attested if key.equal and about.equal else nothing
    match draw.randrange(5):
        case 0:
            params = data + scheme + draw.choice(PCRS)
            auths = [world.authorize(draw, key.handle)]
            world.run(CC.QUOTE, [key.handle], params, auths, compare=compare)
        case 1:
            # One session can't authorize two handles.
            auths = [world.password(about.handle), world.authorize(draw, key.handle)]
            handles = [about.handle, key.handle]
            world.run(CC.CERTIFY, handles, data + scheme, auths, compare=compare)
        case 2:
            auths = [world.password(ENDORSEMENT), world.authorize(draw, key.handle)]
            handles = [ENDORSEMENT, key.handle]
            world.run(CC.GET_TIME, handles, data + scheme, auths, compare=nothing)
        case 3:
            auths = [world.password(ENDORSEMENT), world.password(key.handle)]
            handles = [ENDORSEMENT, key.handle]
            code = CC.GET_COMMAND_AUDIT_DIGEST
            world.run(code, handles, data + scheme, auths, compare=compare)
        case _ if world.sessions:
            session = draw.choice(list(world.sessions))
            auths = [world.password(ENDORSEMENT), world.password(key.handle)]
            handles = [ENDORSEMENT, key.handle, session]
            code = CC.GET_SESSION_AUDIT_DIGEST
            world.run(code, handles, data + scheme, auths, compare=nothing)


def attested(result: Result) -> object:
    """A TPMS_ATTEST without clock and firmware version, and the kind of signature."""
    octets = result.sized()
    start = 6
    for _ in range(2):
        start += 2 + int.from_bytes(octets[start : start + 2])
    signature = result.parameters[2 + len(octets) :]
    return octets[:start], octets[start + 8 : start + 17], octets[start + 25 :], signature[:4]


STEPS = {
    start: 10,
    assertion: 14,
    secret: 4,
    policy_nv: 3,
    save: 5,
    load: 6,
    attest: 8,
}
