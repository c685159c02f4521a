"""Steps of a walk: NV indices of every type."""

from random import Random

from tests.differential.world import LOCKOUT, OWNER, PLATFORM, World, nothing
from tests.tpm.areas import NONE, words
from tests.tpm.commands.nv_area import ALL_RW, INDEX, Area, of_type
from tests.tpm.harness import sized
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import CC, NT, RH

INDICES = range(INDEX, INDEX + 4)
OPTIONS = (
    *(TPMA_NV.WRITEDEFINE, TPMA_NV.WRITE_STCLEAR, TPMA_NV.GLOBALLOCK, TPMA_NV.READ_STCLEAR),
    *(TPMA_NV.CLEAR_STCLEAR, TPMA_NV.ORDERLY, TPMA_NV.NO_DA, TPMA_NV.POLICY_DELETE),
)
SIZES = {NT.ORDINARY: 12, NT.EXTEND: 32}
AUTHS = (b"", b"index", b"an authValue")


def define(world: World, draw: Random) -> None:
    index, by = draw.choice(INDICES), draw.choice((OWNER, OWNER, PLATFORM, PLATFORM, LOCKOUT))
    nt, auth = draw.choice(list(NT)), draw.choice(AUTHS)
    attributes = of_type(nt) | sum(option for option in OPTIONS if draw.random() < 0.15)
    attributes |= ALL_RW & draw.getrandbits(32) | TPMA_NV.OWNERREAD | TPMA_NV.OWNERWRITE
    if nt in (NT.PIN_PASS, NT.PIN_FAIL):
        # What is never written of a PIN index is all ones in libtpms and zeros here.
        attributes |= TPMA_NV.WRITEALL
    if by == PLATFORM:
        attributes |= TPMA_NV.PLATFORMCREATE
    size = SIZES.get(nt, 8) if draw.random() < 0.95 else 9
    area = Area(attributes, size, index, policy=draw.choice((b"", b"", bytes(32))))
    params = sized(auth) + sized(area.marshal())
    results = world.run(CC.NV_DEFINE_SPACE, [by], params, [world.authorize(draw, by)])
    if not results[0].rc:
        world.auths[index] = auth


def undefine(world: World, draw: Random) -> None:
    index, by = draw.choice(INDICES), draw.choice((OWNER, PLATFORM))
    auths = [world.authorize(draw, by)]
    results = world.run(CC.NV_UNDEFINE_SPACE, [by, index], auths=auths)
    if not results[0].rc:
        world.auths.pop(index, None)


def access(world: World, draw: Random) -> None:
    """Write, read, update or lock, with an authorization of any kind."""
    index = draw.choice(INDICES)
    by = draw.choice((index, index, OWNER, PLATFORM))
    data = bytes(draw.choices((0, 0, 1, 255), k=draw.choice((8, 8, 12, 12, 0, 13))))
    code, params = draw.choice(
        (
            (CC.NV_WRITE, sized(data) + words(draw.choice((0, 0, 0, 4)))),
            (CC.NV_WRITE, sized(data) + words(0)),
            (CC.NV_READ, words(draw.choice((0, 8, 12, 32)), draw.choice((0, 0, 1)))),
            (CC.NV_READ, words(8, 0)),
            (CC.NV_INCREMENT, b""),
            (CC.NV_EXTEND, sized(data)),
            (CC.NV_SET_BITS, draw.randbytes(8)),
            (CC.NV_WRITE_LOCK, b""),
            (CC.NV_READ_LOCK, b""),
        )
    )
    world.run(code, [by, index], params, [world.authorize(draw, by)])


def lock_all(world: World, draw: Random) -> None:
    by = draw.choice((OWNER, PLATFORM))
    world.run(CC.NV_GLOBAL_WRITE_LOCK, [by], auths=[world.authorize(draw, by)])


def certify(world: World, draw: Random) -> None:
    index = draw.choice(INDICES)
    key = world.an_object(draw)
    by = draw.choice((OWNER, index))
    handle = key.handle if key is not None else int(RH.NULL)
    params = sized(b"data") + NONE + words(draw.choice((0, 8)), 0)
    auths = [world.password(handle), world.authorize(draw, by)]
    world.run(CC.NV_CERTIFY, [handle, by, index], params, auths, compare=nothing)


def change_auth(world: World, draw: Random) -> None:
    """Needs a policy, so that most of it is refused."""
    index = draw.choice(INDICES)
    auths = [world.authorize(draw, index)]
    world.run(CC.NV_CHANGE_AUTH, [index], sized(b"new"), auths)


def look(world: World, draw: Random) -> None:
    for index in INDICES:
        world.run(CC.NV_READ_PUBLIC, [index])


STEPS = {
    define: 8,
    undefine: 3,
    access: 30,
    lock_all: 1,
    certify: 2,
    change_auth: 1,
    look: 3,
}
