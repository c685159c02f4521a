"""Steps of a walk: objects are created, loaded, imported, used and given up."""

from random import Random

from tests.differential.world import (
    ENDORSEMENT,
    NULL,
    OWNER,
    PLATFORM,
    Both,
    Loaded,
    Made,
    World,
    everything,
    nothing,
    shape,
)
from tests.tpm import areas, known_keys
from tests.tpm.areas import DECRYPT, NO_DA, NONE, OWN, RESTRICTED, SIGN, words
from tests.tpm.commands.policy_steps import command_code, policy_of
from tests.tpm.harness import Result, sized
from tests.tpm.wrapping import share_with
from vtpmd.tpm.wire.constants import ALG, CC, ST

AUTHS = (b"", b"", b"auth", b"another authValue")
HIERARCHIES = (OWNER, OWNER, ENDORSEMENT, PLATFORM, NULL)
HMAC_SCHEME, ECDSA = words(ALG.HMAC, ALG.SHA256), words(ALG.ECDSA, ALG.SHA256)
RSASSA, RSAPSS = words(ALG.RSASSA, ALG.SHA256), words(ALG.RSAPSS, ALG.SHA256)
SCHEMES = (NONE, NONE, HMAC_SCHEME, ECDSA, RSASSA, RSAPSS, words(ALG.RSASSA, ALG.SHA1))
NO_TICKET = words(ST.HASHCHECK) + NULL.to_bytes(4) + sized(b"")
TO_DUPLICATE = policy_of(ALG.SHA256, command_code(CC.DUPLICATE))
POLICIES = (b"", b"", bytes(32), TO_DUPLICATE, policy_of(ALG.SHA256, command_code(CC.UNSEAL)))


def template(draw: Random) -> bytes:
    """A public area to create; most are good."""
    flags = OWN | draw.choice((0, NO_DA, NO_DA))
    if draw.random() < 0.3:
        flags = areas.MOVABLE | draw.choice((0, NO_DA)) | draw.choice((0, 1 << 11))
    policy = draw.choice(POLICIES)
    alg = draw.choice((ALG.SHA256, ALG.SHA256, ALG.SHA1, ALG.SHA384))
    match draw.randrange(8):
        case 0 | 1:
            restricted = flags | RESTRICTED | DECRYPT
            return areas.ecc(restricted, alg=alg, symmetric=areas.AES_128_CFB, policy=policy)
        case 2:
            flags |= SIGN | draw.choice((0, RESTRICTED))
            return areas.ecc(flags, alg=alg, scheme=draw.choice((ECDSA, NONE)), policy=policy)
        case 3:
            return areas.ecc(flags | draw.choice((DECRYPT, SIGN | DECRYPT)), alg=alg)
        case 4:
            flags |= SIGN | draw.choice((0, RESTRICTED))
            return areas.keyedhash(flags, alg=alg, scheme=HMAC_SCHEME, policy=policy)
        case 5:
            return areas.keyedhash(flags & ~areas.ORIGIN, alg=alg, policy=policy)
        case 6:
            mode = draw.choice((ALG.CFB, ALG.CTR, ALG.CBC, ALG.ECB, ALG.NULL))
            cipher = words(ALG.AES, draw.choice((128, 256)), mode)
            return areas.symcipher(flags | DECRYPT | draw.choice((0, SIGN)), symmetric=cipher)
        case _:
            flags ^= 1 << draw.randrange(19)
            return areas.ecc(flags | draw.choice((SIGN, DECRYPT, RESTRICTED)), policy=policy)


def _creation(draw: Random, auth: bytes) -> bytes:
    public = template(draw)
    is_sealed = public[:2] == words(ALG.KEYEDHASH) and not public[5] & areas.ORIGIN
    data = b"sealed data" if is_sealed or draw.random() < 0.05 else b""
    pcrs = draw.choice((bytes(4), (1).to_bytes(4) + words(ALG.SHA256) + b"\3\7\0\1"))
    return areas.create_parameters(public, auth, data, draw.choice((b"", b"outside")), pcrs)


def create_primary(world: World, draw: Random) -> None:
    hierarchy, auth = draw.choice(HIERARCHIES), draw.choice(AUTHS)
    compare = shape if hierarchy == NULL else everything
    auths = [world.authorize(draw, hierarchy)]
    params = _creation(draw, auth)
    results = world.run(CC.CREATE_PRIMARY, [hierarchy], params, auths, compare=compare)
    world.add(results, Loaded(0, _sized(results), auth, hierarchy))


def _sized(results: tuple[Result, Result], number: int = 0) -> Both:
    return results[0].sized(number), results[1].sized(number)


def create(world: World, draw: Random) -> None:
    parent, auth = world.an_object(draw), draw.choice(AUTHS)
    if parent is None:
        return
    auths = [world.authorize(draw, parent.handle)]
    params = _creation(draw, auth)
    results = world.run(CC.CREATE, [parent.handle], params, auths, compare=nothing)
    if not results[0].rc:
        made = Made(_sized(results, 1), _sized(results), auth, parent.public)
        world.made = [*world.made[-5:], made]


def create_loaded(world: World, draw: Random) -> None:
    parent, auth = world.an_object(draw), draw.choice(AUTHS)
    handle = draw.choice(HIERARCHIES) if parent is None or draw.random() < 0.5 else parent.handle
    params = areas.sensitive_create(auth) + sized(template(draw))
    compare = everything if handle in HIERARCHIES[:4] else nothing
    auths = [world.authorize(draw, handle)]
    results = world.run(CC.CREATE_LOADED, [handle], params, auths, compare=compare)
    hierarchy = handle if parent is None or handle != parent.handle else parent.hierarchy
    public = (results[0].sized(1), results[1].sized(1))
    world.add(results, Loaded(0, public, auth, hierarchy))


def load(world: World, draw: Random) -> None:
    parent = world.an_object(draw)
    if parent is None or not world.made:
        return
    fitting = [made for made in world.made if made.parent == parent.public]
    made = draw.choice(fitting or world.made)
    params = tuple(sized(made.private[side]) + sized(made.public[side]) for side in (0, 1))
    auths = [world.authorize(draw, parent.handle)]
    compare = everything if made.public[0] == made.public[1] else shape
    results = world.run(CC.LOAD, [parent.handle], (params[0], params[1]), auths, compare=compare)
    world.add(results, Loaded(0, made.public, made.auth, parent.hierarchy))


def known_key(draw: Random) -> tuple[bytes, bytes]:
    """A key from outside."""
    return draw.choice(
        (
            known_keys.ecc_areas(SIGN, draw.choice((NONE, ECDSA))),
            known_keys.ecc_areas(DECRYPT),
            known_keys.rsa_areas(SIGN, draw.choice((NONE, RSASSA, RSAPSS))),
            known_keys.rsa_areas(DECRYPT, draw.choice((NONE, words(ALG.RSAES)))),
            known_keys.hmac_areas(SIGN, HMAC_SCHEME),
            known_keys.cipher_areas(DECRYPT | SIGN, draw.choice((ALG.CFB, ALG.CBC, ALG.NULL))),
        )
    )


def load_external(world: World, draw: Random) -> None:
    public, private = known_key(draw)
    hierarchy = draw.choice((NULL, NULL, NULL, OWNER, PLATFORM))
    if draw.random() < 0.3:
        private = b""
    params = sized(private) + sized(public) + hierarchy.to_bytes(4)
    world.add(world.run(CC.LOAD_EXTERNAL, params=params), Loaded(0, (public,) * 2, b"", hierarchy))


def import_key(world: World, draw: Random) -> None:
    parent = world.an_object(draw)
    if parent is None:
        return
    public, private = known_key(draw)
    handle = parent.handle
    params = sized(b"") + sized(public) + sized(sized(private)) + sized(b"") + NONE
    auths = [world.authorize(draw, handle)]
    results = world.run(CC.IMPORT, [handle], params, auths, compare=shape)
    if not results[0].rc:
        world.made.append(Made((public, public), _sized(results), b"", parent.public))


def duplicate(world: World, draw: Random) -> None:
    loaded, parent = world.an_object(draw), world.an_object(draw)
    if loaded is None or parent is None or not world.free(2):
        return
    cipher = draw.choice((NONE, areas.AES_128_CFB))
    new_parent = draw.choice((NULL, parent.handle))
    if draw.random() < 0.8 and len(world.sessions) < 3:
        auth = world.policy_session(draw, command_code(CC.DUPLICATE))
    else:
        auth = world.authorize(draw, loaded.handle)
    params = sized(b"") + cipher
    world.run(CC.DUPLICATE, [loaded.handle, new_parent], params, [auth], compare=shape)


def flush(world: World, draw: Random) -> None:
    handle = draw.choice((*world.transient(), *world.sessions, 0x80000001, 0x02000000))
    results = world.run(CC.FLUSH_CONTEXT, params=handle.to_bytes(4))
    if not results[0].rc:
        world.objects.pop(handle, None)
        world.sessions.pop(handle, None)


def evict(world: World, draw: Random) -> None:
    loaded = world.an_object(draw)
    if loaded is None:
        return
    persistent = draw.choice((0x81000000, 0x81000001, 0x81800000, loaded.handle))
    by = draw.choice((OWNER, OWNER, PLATFORM))
    auths = [world.authorize(draw, by)]
    params = persistent.to_bytes(4)
    results = world.run(CC.EVICT_CONTROL, [by, loaded.handle], params, auths)
    if results[0].rc:
        return
    if loaded.handle == persistent:
        del world.objects[persistent]
    else:
        kept = Loaded(persistent, loaded.public, loaded.auth, loaded.hierarchy)
        world.objects[persistent] = kept


def change_auth(world: World, draw: Random) -> None:
    loaded = world.an_object(draw)
    parent = world.an_object(draw)
    if loaded is None or parent is None or not world.free():
        return
    new = draw.choice(AUTHS)
    auths = [world.authorize(draw, loaded.handle)]
    handles = [loaded.handle, parent.handle]
    results = world.run(CC.OBJECT_CHANGE_AUTH, handles, sized(new), auths, compare=shape)
    if not results[0].rc:
        world.made.append(Made(loaded.public, _sized(results), new, parent.public))


def use(world: World, draw: Random) -> None:
    """One command that needs a key, with whatever is loaded."""
    loaded = world.an_object(draw)
    if loaded is None:
        return
    handle = loaded.handle
    compare = everything if loaded.equal else nothing
    digest = sized(draw.randbytes(draw.choice((32, 32, 32, 20, 31))))
    scheme = draw.choice(SCHEMES)
    known = loaded.hierarchy == NULL and loaded.public[0] == loaded.public[1]
    is_deterministic = scheme[:2] not in (ECDSA[:2], RSAPSS[:2], NONE)
    signature = everything if is_deterministic and known else nothing
    data = draw.randbytes(draw.choice((0, 16, 32, 33)))
    match draw.randrange(9):
        case 0:
            auths = [world.authorize(draw, handle)]
            world.run(CC.UNSEAL, [handle], auths=auths)
        case 1:
            params = digest + scheme + NO_TICKET
            auths = [world.authorize(draw, handle)]
            world.run(CC.SIGN, [handle], params, auths, compare=signature)
        case 2:
            mode = words(draw.choice((ALG.NULL, ALG.CFB, ALG.CBC)))
            iv = draw.choice((bytes(16), b"", bytes(15)))
            params = sized(data) + bytes((draw.choice((0, 1, 2)),)) + mode + sized(iv)
            auths = [world.authorize(draw, handle)]
            external = everything if loaded.public[0] == loaded.public[1] else shape
            world.run(CC.ENCRYPT_DECRYPT2, [handle], params, auths, compare=external)
        case 3:
            params = sized(data) + words(draw.choice((ALG.NULL, ALG.SHA256, ALG.SHA384)))
            auths = [world.authorize(draw, handle)]
            world.run(CC.HMAC, [handle], params, auths, compare=compare)
        case 4:
            point = known_keys.point(known_keys.ecc_key().public_key())
            params = sized(sized(point[0]) + sized(point[1]))
            auths = [world.authorize(draw, handle)]
            world.run(CC.ECDH_ZGEN, [handle], params, auths, compare=compare)
        case 5:
            params = sized(data) + draw.choice((NONE, words(ALG.RSAES))) + sized(b"")
            world.run(CC.RSA_ENCRYPT, [handle], params, compare=nothing)
        case 6:
            name = tuple(world.names(handle))
            both = tuple(sized(data) + sized(each) for each in name)
            world.run(CC.MAKE_CREDENTIAL, [handle], (both[0], both[1]), compare=shape)
        case 7:
            world.run(CC.READ_PUBLIC, [handle], compare=compare)
        case _:
            world.run(CC.ECDH_KEY_GEN, [handle], compare=shape)


def salt(world: World, draw: Random) -> tuple[int, Both, Both] | None:
    """A key to salt a session with, the salts, and what a caller sends of them."""
    loaded = world.an_object(draw)
    if loaded is None or draw.random() < 0.5:
        return None
    public = loaded.public
    attributes = int.from_bytes(public[0][4:8])
    if public[0][:2] != words(ALG.ECC) or not attributes & DECRYPT:
        return None
    ours, theirs = (share_with(each, b"SECRET") for each in public)
    return loaded.handle, (ours[0], theirs[0]), (ours[1], theirs[1])


STEPS = {
    create_primary: 8,
    create: 4,
    create_loaded: 3,
    load: 6,
    load_external: 6,
    import_key: 3,
    duplicate: 2,
    flush: 9,
    evict: 3,
    change_auth: 2,
    use: 14,
}
