"""Who may do what: passwords, HMACs and policies on entities of every kind."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.tpm import areas
from tests.tpm.agreement import agreed, handle_error, session_error
from tests.tpm.harness import Password, Result, Session, Tester, digest, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE

Both = tuple[Tester, Tester]

SECRET = b"secret"
INDEX = 0x01500001
HASH_ALGS = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)


@dataclass(frozen=True)
class Entity:
    """How to make an entity with an authValue, and a command that its USER role authorizes."""

    name: str
    make: Callable[[Tester, bytes], int]
    code: int
    handles: Callable[[int], list[int]]
    params: bytes = b""
    da_protected: bool = False

    def use(self, tester: Tester, handle: int, auth: Password | Session) -> Result:
        return tester.run(self.code, self.handles(handle), self.params, [auth])


def _hierarchy(handle: int) -> Callable[[Tester, bytes], int]:
    def make(tester: Tester, auth: bytes) -> int:
        changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [handle], sized(auth), [Password()])
        assert changed.rc == 0
        return handle

    return make


def _sealed(no_da: int) -> Callable[[Tester, bytes], int]:
    def make(tester: Tester, auth: bytes) -> int:
        template = areas.sealed(areas.FIXED | areas.USER_AUTH | no_da)
        return areas.loaded_primary(tester, template, auth=auth, data=b"data")

    return make


def _index(no_da: int) -> Callable[[Tester, bytes], int]:
    def make(tester: Tester, auth: bytes) -> int:
        attributes = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | no_da
        public = INDEX.to_bytes(4) + ALG.SHA256.to_bytes(2) + attributes.to_bytes(4) + bytes(2)
        params = sized(auth) + sized(public + (8).to_bytes(2))
        assert tester.run(CC.NV_DEFINE_SPACE, [RH.OWNER], params, [Password()]).rc == 0
        return INDEX

    return make


def _pcr(tester: Tester, auth: bytes) -> int:
    assert tester.run(CC.PCR_SET_AUTH_VALUE, [20], sized(auth), [Password()]).rc == 0
    return 20


def _sequence(tester: Tester, auth: bytes) -> int:
    params = sized(auth) + ALG.SHA256.to_bytes(2)
    handle = tester.run(CC.HASH_SEQUENCE_START, params=params).handle
    assert handle is not None
    tester.names[handle] = b""
    return handle


def _persistent(tester: Tester, auth: bytes) -> int:
    transient = _sealed(0)(tester, auth)
    made = tester.run(
        CC.EVICT_CONTROL, [RH.OWNER, transient], (0x81000005).to_bytes(4), [Password()]
    )
    assert made.rc == 0
    areas.flush(tester, transient)
    return 0x81000005


def _alone(handle: int) -> list[int]:
    return [handle]


def _twice(handle: int) -> list[int]:
    return [handle, handle]


ENTITIES = (
    Entity("owner", _hierarchy(RH.OWNER), CC.SET_PRIMARY_POLICY, _alone, b"\x00\x00\x00\x10"),
    Entity("endorsement", _hierarchy(RH.ENDORSEMENT), CC.HIERARCHY_CHANGE_AUTH, _alone, sized(b"")),
    Entity("platform", _hierarchy(RH.PLATFORM), CC.CLEAR_CONTROL, _alone, b"\x00"),
    Entity(
        "lockout",
        _hierarchy(RH.LOCKOUT),
        CC.DICTIONARY_ATTACK_LOCK_RESET,
        _alone,
        da_protected=True,
    ),
    Entity("object", _sealed(0), CC.UNSEAL, _alone, da_protected=True),
    Entity("object without DA", _sealed(areas.NO_DA), CC.UNSEAL, _alone),
    Entity("persistent object", _persistent, CC.UNSEAL, _alone, da_protected=True),
    Entity("index", _index(0), CC.NV_WRITE, _twice, sized(b"12345678") + bytes(2), True),
    Entity("index without DA", _index(TPMA_NV.NO_DA), CC.NV_WRITE, _twice, sized(b"1") + bytes(2)),
    Entity("PCR", _pcr, CC.PCR_EXTEND, _alone, b"\x00\x00\x00\x01\x00\x0b" + bytes(32)),
    Entity("sequence", _sequence, CC.SEQUENCE_UPDATE, _alone, sized(b"data")),
)


@pytest.fixture(params=ENTITIES, ids=lambda entity: entity.name)
def entity(request: pytest.FixtureRequest) -> Entity:
    found: Entity = request.param
    return found


def _made(both: Both, entity: Entity, auth: bytes = SECRET) -> int:
    ours, theirs = (entity.make(tester, auth) for tester in both)
    assert ours == theirs
    if entity.code == CC.PCR_EXTEND:
        for tester in both:
            tester.peer.set_locality(2)
    return ours


@pytest.mark.parametrize("password", [b"wrong", b"", b"secre", b"secrets", b"secret\x01"])
def test_wrong_passwords(both: Both, entity: Entity, password: bytes) -> None:
    handle = _made(both, entity)
    expected = session_error(RC.AUTH_FAIL if entity.da_protected else RC.BAD_AUTH, 1)
    assert agreed(both, entity.use, handle, Password(password)).rc == expected


@pytest.mark.parametrize("password", [b"secret", b"secret\x00", b"secret" + bytes(20)])
def test_right_passwords_whatever_zeros_follow(both: Both, entity: Entity, password: bytes) -> None:
    handle = _made(both, entity)
    assert [entity.use(tester, handle, Password(password)).rc for tester in both] == [0, 0]


@pytest.mark.parametrize("alg", HASH_ALGS)
def test_hmac_of_an_unbound_session(both: Both, entity: Entity, alg: ALG) -> None:
    handle = _made(both, entity, SECRET + b"\x00")
    for tester in both:
        session = tester.start_session(alg=alg)
        session.auth_value = SECRET
        if entity.code == CC.HIERARCHY_CHANGE_AUTH:
            # The response is proven with the new authValue, which the caller has to know.
            used = tester.run(entity.code, [handle], sized(SECRET), [session])
        else:
            used = entity.use(tester, handle, session)
        assert used.rc == 0


def test_wrong_hmacs(both: Both, entity: Entity) -> None:
    handle = _made(both, entity)
    expected = session_error(RC.AUTH_FAIL if entity.da_protected else RC.BAD_AUTH, 1)
    for tester in both:
        session = tester.start_session()
        session.auth_value = b"wrong"
        assert entity.use(tester, handle, session).rc == expected
        if entity.name == "lockout":
            expected = RC.LOCKOUT
            session.auth_value = SECRET
            assert entity.use(tester, handle, session).rc == RC.LOCKOUT
            expected = session_error(RC.AUTH_FAIL, 1)


def test_a_failed_hmac_leaves_the_session_as_it_was(both: Both) -> None:
    entity = ENTITIES[0]
    handle = _made(both, entity)
    for tester in both:
        session = tester.start_session()
        session.auth_value = b"wrong"
        assert entity.use(tester, handle, session).rc == session_error(RC.BAD_AUTH, 1)
        session.auth_value = SECRET
        assert entity.use(tester, handle, session).rc == 0


def test_a_bound_session_needs_no_auth_value(both: Both, entity: Entity) -> None:
    handle = _made(both, entity)
    for tester in both:
        bound = tester.start_session(bind=handle, bind_auth=SECRET)
        if entity.code == CC.HIERARCHY_CHANGE_AUTH:
            used = tester.run(entity.code, [handle], sized(SECRET), [bound])
        else:
            used = entity.use(tester, handle, bound)
        assert used.rc == 0


def test_a_session_bound_with_a_wrong_guess(both: Both, entity: Entity) -> None:
    """Its key proves nothing; and if the entity is DA protected, the guess counts."""
    handle = _made(both, entity)
    expected = session_error(RC.AUTH_FAIL if entity.da_protected else RC.BAD_AUTH, 1)
    for tester in both:
        guessed = tester.start_session(bind=handle, bind_auth=b"guess")
        assert entity.use(tester, handle, guessed).rc == expected


def test_a_bound_session_is_bound_no_more_after_its_auth_value_changed(both: Both) -> None:
    for tester in both:
        _hierarchy(RH.OWNER)(tester, SECRET)
        bound = tester.start_session(bind=RH.OWNER, bind_auth=SECRET)
        change = Password(SECRET)
        assert tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"new"), [change]).rc == 0
        clear_policy = b"\x00\x00\x00\x10"
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], clear_policy, [bound])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        bound.auth_value = b"new"
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], clear_policy, [bound]).rc == 0


def test_a_session_is_bound_to_one_entity_and_not_to_its_auth_value(both: Both) -> None:
    """Another entity with the same authValue has to be proven all the same."""
    params = sized(b"") + ALG.NULL.to_bytes(2)
    for tester in both:
        for hierarchy in (RH.OWNER, RH.ENDORSEMENT):
            _hierarchy(hierarchy)(tester, SECRET)
        bound = tester.start_session(bind=RH.OWNER, bind_auth=SECRET)
        bound.auth_value, bound.proves_auth_value = SECRET, False
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.ENDORSEMENT], params, [bound])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [bound]).rc == 0
        bound.proves_auth_value = True
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.ENDORSEMENT], params, [bound]).rc == 0


def test_a_session_is_not_bound_to_an_index_that_has_got_another_name(both: Both) -> None:
    """The first write changes the attributes, and with them the Name (Part 1, 16.6.10)."""
    params = sized(b"12345678") + bytes(2)
    for tester in both:
        handle = _index(TPMA_NV.NO_DA)(tester, SECRET)
        bound = tester.start_session(bind=handle, bind_auth=SECRET)
        bound.auth_value = SECRET
        handles, password = [handle, handle], [Password(SECRET)]
        assert tester.run(CC.NV_WRITE, handles, params, password).rc == 0
        bound.proves_auth_value = False
        refused = tester.run(CC.NV_WRITE, handles, params, [bound])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        bound.proves_auth_value = True
        assert tester.run(CC.NV_WRITE, handles, params, [bound]).rc == 0
        late = tester.start_session(bind=handle, bind_auth=SECRET)
        late.auth_value, late.proves_auth_value = SECRET, False
        assert tester.run(CC.NV_WRITE, handles, params, [late]).rc == 0


def test_a_bound_session_authorizes_others_with_their_auth_values(both: Both) -> None:
    for tester in both:
        _hierarchy(RH.OWNER)(tester, SECRET)
        _hierarchy(RH.ENDORSEMENT)(tester, b"other")
        bound = tester.start_session(bind=RH.OWNER, bind_auth=SECRET)
        params = b"\x00\x00\x00\x10"
        refused = tester.run(CC.SET_PRIMARY_POLICY, [RH.ENDORSEMENT], params, [bound])
        assert refused.rc == session_error(RC.BAD_AUTH, 1)
        bound.auth_value = b"other"
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.ENDORSEMENT], params, [bound]).rc == 0


def test_a_session_bound_to_what_is_da_protected_guesses_at_nothing(both: Both) -> None:
    """An HMAC that fails because of the bound guess counts, whatever entity it was for."""
    for tester in both:
        protected = _sealed(0)(tester, SECRET)
        for count in range(1, 4):
            guess = tester.start_session(bind=protected, bind_auth=b"guess")
            params = b"\x00\x00\x00\x10"
            used = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [guess])
            assert used.rc == session_error(RC.AUTH_FAIL, 1)
            areas.flush(tester, guess.handle)
            assert _lockout_counter(tester) == count
        late = tester.start_session(bind=protected, bind_auth=SECRET)
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [late]).rc == RC.LOCKOUT


def test_neither_does_a_policy_session(both: Both) -> None:
    policy = digest(ALG.SHA256, bytes(32) + CC.POLICY_AUTH_VALUE.to_bytes(4))
    params = sized(policy) + ALG.SHA256.to_bytes(2)
    for tester in both:
        protected = _sealed(0)(tester, SECRET)
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [Password()]).rc == 0
        guess = tester.start_session(SE.POLICY, bind=protected, bind_auth=b"guess")
        assert tester.run(CC.POLICY_AUTH_VALUE, [guess.handle]).rc == 0
        used = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [guess])
        assert used.rc == session_error(RC.AUTH_FAIL, 1)
        assert _lockout_counter(tester) == 1
        right = tester.start_session(SE.POLICY, bind=protected, bind_auth=SECRET)
        assert tester.run(CC.POLICY_AUTH_VALUE, [right.handle]).rc == 0
        assert tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [right]).rc == 0


def _lockout_counter(tester: Tester) -> int:
    params = b"\x00\x00\x00\x06\x00\x00\x02\x0e\x00\x00\x00\x01"
    return int.from_bytes(tester.run(CC.GET_CAPABILITY, params=params).parameters[-4:])


def test_missing_and_wrong_kinds_of_authorization(both: Both, entity: Entity) -> None:
    handle = _made(both, entity)
    handles = entity.handles(handle)
    assert agreed(both, Tester.run, entity.code, handles, entity.params).rc == RC.AUTH_MISSING
    for kind in (SE.POLICY, SE.TRIAL):
        answers = set()
        for tester in both:
            session = tester.start_session(kind)
            answers.add(entity.use(tester, handle, session).rc)
            areas.flush(tester, session.handle)
        (code,) = answers
        if kind == SE.TRIAL:
            assert code == session_error(RC.ATTRIBUTES, 1)
        else:
            assert code in (RC.AUTH_UNAVAILABLE, session_error(RC.POLICY_FAIL, 1))


@pytest.mark.parametrize("role_attributes", [0, areas.USER_AUTH, areas.ADMIN_POLICY])
def test_roles_of_objects(both: Both, role_attributes: int) -> None:
    """USER needs userWithAuth, ADMIN no adminWithPolicy; DUP needs a policy."""
    attributes = areas.FIXED | areas.ORIGIN | areas.SIGN | areas.NO_DA | role_attributes
    scheme = areas.words(ALG.ECDSA, ALG.SHA256)
    codes = set()
    for tester in both:
        key = areas.loaded_primary(tester, areas.ecc(attributes, scheme=scheme))
        parameters = sized(bytes(32)) + areas.NONE + b"\x80\x24\x40\x00\x00\x07\x00\x00"
        user = tester.run(CC.SIGN, [key], parameters, [Password()]).rc
        admin = tester.run(
            CC.CERTIFY, [key, RH.NULL], sized(b"") + areas.NONE, [Password(), Password()]
        ).rc
        duplicate = tester.run(
            CC.DUPLICATE, [key, RH.NULL], sized(b"") + areas.NONE, [Password()]
        ).rc
        codes.add((user, admin, duplicate))
    ((user, admin, duplicate),) = codes
    assert (user == 0) == (role_attributes == areas.USER_AUTH)
    assert (admin == RC.AUTH_TYPE) == (role_attributes == areas.ADMIN_POLICY)
    assert duplicate == RC.AUTH_TYPE


def test_public_objects_authorize_nothing(both: Both) -> None:
    codes = set()
    for tester in both:
        made = areas.create_primary(tester, areas.ecc(areas.OWN | areas.SIGN))
        key = areas.load_external(tester, made.sized(0), hierarchy=RH.OWNER).handle
        assert key is not None
        parameters = sized(bytes(32)) + areas.NONE + b"\x80\x24\x40\x00\x00\x07\x00\x00"
        session = tester.start_session(SE.POLICY)
        codes.add(
            tuple(
                tester.run(CC.SIGN, [key], parameters, [auth]).rc for auth in (Password(), session)
            )
        )
    assert codes == {(RC.AUTH_UNAVAILABLE, RC.AUTH_UNAVAILABLE)}


def test_disabled_hierarchies_authorize_nothing(both: Both) -> None:
    for hierarchy in (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM):
        for tester in both:
            disable = hierarchy.to_bytes(4) + b"\x00"
            assert tester.run(CC.HIERARCHY_CONTROL, [RH.PLATFORM], disable, [Password()]).rc == 0
        answer = agreed(
            both, Tester.run, CC.SET_PRIMARY_POLICY, [hierarchy], b"\x00\x00\x00\x10", [Password()]
        )
        assert answer.rc == handle_error(RC.HIERARCHY, 1)


def test_a_pcr_with_a_policy_needs_it(both: Both) -> None:
    policy = digest(ALG.SHA256, bytes(32) + CC.POLICY_AUTH_VALUE.to_bytes(4))
    extend = b"\x00\x00\x00\x01\x00\x0b" + bytes(32)
    for tester in both:
        tester.peer.set_locality(2)
        params = sized(policy) + ALG.SHA256.to_bytes(2) + (21).to_bytes(4)
        assert tester.run(CC.PCR_SET_AUTH_POLICY, [RH.PLATFORM], params, [Password()]).rc == 0
        for pcr, auth in itertools.product((20, 21, 22), (Password(), None)):
            session = auth or tester.start_session()
            assert tester.run(CC.PCR_EXTEND, [pcr], extend, [session]).rc == RC.AUTH_TYPE
            if isinstance(session, Session):
                areas.flush(tester, session.handle)
        satisfied = tester.start_session(SE.POLICY)
        assert tester.run(CC.POLICY_AUTH_VALUE, [satisfied.handle]).rc == 0
        assert tester.run(CC.PCR_EXTEND, [22], extend, [satisfied]).rc == 0
        assert tester.run(CC.PCR_EXTEND, [23], extend, [Password()]).rc == 0
        unavailable = tester.run(CC.PCR_EXTEND, [23], extend, [satisfied])
        assert unavailable.rc == RC.AUTH_UNAVAILABLE
