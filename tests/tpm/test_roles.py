"""Who may administer: the roles of Part 3, as declared and as enforced.

`roles` is the table; here are the commands whose first handle has the role ADMIN or DUP, each with
authorizations that would do for the role USER.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from tests.tpm import areas
from tests.tpm.agreement import session_error
from tests.tpm.areas import ADMIN_POLICY, NO_DA, NONE, OWN, SIGN, USER_AUTH, X509_SIGN
from tests.tpm.commands import nv_area
from tests.tpm.commands.nv_area import INDEX, Area, define
from tests.tpm.commands.policy_steps import (
    AUTH_VALUE,
    PASSWORD,
    Assertion,
    command_code,
    either,
    policy_of,
    session_with,
)
from tests.tpm.commands.test_certify_x509 import DIGITAL_SIGNATURE, params, partial
from tests.tpm.harness import Password, Session, Tester, sized
from tests.tpm.known_keys import rsa_areas
from tests.tpm.roles import HANDLES
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.attributes import TPMA_NV
from vtpmd.tpm.wire.constants import ALG, CC, RH

Both = tuple[Tester, Tester]
AUTH = b"authValue"
NONCE = sized(b"nonce")


def as_declared(name: str) -> str:
    """A handle's name as the code spells it."""
    return re.sub("(?<!^)([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize("code", COMMANDS, ids=lambda code: CC(code).name)
def test_handles_and_roles_are_those_of_part_3(code: int) -> None:
    declared = [(handle.name, handle.auth.name) for handle in COMMANDS[code].handles]
    assert declared == [(as_declared(handle.name), handle.role) for handle in HANDLES[code]]


@pytest.mark.parametrize("code", COMMANDS, ids=lambda code: CC(code).name)
def test_handles_with_a_role_come_first(code: int) -> None:
    """Authorizations are assigned to handles in order: Auth Index 1, then 2."""
    roles = [handle.role != "NONE" for handle in HANDLES[code]]
    assert roles == sorted(roles, reverse=True)
    assert COMMANDS[code].authorizations == sum(roles)


@dataclass(frozen=True)
class Prepared:
    """A command but for the authorization of its first handle."""

    handles: list[int]
    params: bytes = b""
    others: tuple[Password, ...] = ()
    """Authorizations of the other handles."""


def key_template(attributes: int, policy: bytes) -> bytes:
    """A signing key that can't be guessed at."""
    return areas.ecc(OWN & ~USER_AUTH | SIGN | NO_DA | attributes, policy=policy)


def activation(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_ActivateCredential of a credential for the object."""
    target = areas.loaded_primary(tester, key_template(attributes, policy), auth=AUTH)
    key = areas.loaded_primary(tester, areas.storage())
    parameters = sized(b"credential") + sized(tester.name(target))
    made = tester.run(CC.MAKE_CREDENTIAL, [key], parameters)
    return Prepared([target, key], made.parameters, (Password(),))


def change(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_ObjectChangeAuth of a child."""
    parent = areas.loaded_primary(tester, areas.storage())
    child = areas.loaded_child(tester, parent, key_template(attributes, policy), auth=AUTH)
    return Prepared([child, parent], sized(b"new"))


def certification(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_Certify without a signature."""
    certified = areas.loaded_primary(tester, key_template(attributes, policy), auth=AUTH)
    return Prepared([certified, RH.NULL], NONCE + NONE, (Password(),))


def x509_certification(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_CertifyX509 by an RSA key."""
    subject = areas.loaded_primary(tester, key_template(attributes, policy), auth=AUTH)
    signer = areas.loaded_external(tester, *rsa_areas(SIGN | X509_SIGN))
    return Prepared([subject, signer], params(partial(DIGITAL_SIGNATURE)), (Password(),))


def duplication(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_Duplicate without wrappers."""
    template = areas.keyedhash(NO_DA | attributes, policy=policy)
    movable = areas.loaded_primary(tester, template, auth=AUTH, data=b"data")
    return Prepared([movable, RH.NULL], sized(b"") + NONE)


def index(tester: Tester, policy: bytes) -> None:
    """Define an index that everybody may read and write."""
    attributes = nv_area.ALL_RW | TPMA_NV.NO_DA | TPMA_NV.PLATFORMCREATE | TPMA_NV.POLICY_DELETE
    area = Area(attributes, policy=policy)
    assert define(tester, area, auth=AUTH, by=RH.PLATFORM).rc == 0


def index_change(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_NV_ChangeAuth."""
    index(tester, policy)
    return Prepared([INDEX], sized(b"new"))


def index_removal(tester: Tester, attributes: int, policy: bytes) -> Prepared:
    """TPM2_NV_UndefineSpaceSpecial."""
    index(tester, policy)
    return Prepared([INDEX, RH.PLATFORM], others=(Password(),))


Preparation = Callable[[Tester, int, bytes], Prepared]
OF_OBJECTS: dict[int, Preparation] = {
    CC.ACTIVATE_CREDENTIAL: activation,
    CC.OBJECT_CHANGE_AUTH: change,
    CC.CERTIFY: certification,
    CC.CERTIFY_X509: x509_certification,
}
OF_INDICES: dict[int, Preparation] = {
    CC.NV_CHANGE_AUTH: index_change,
    CC.NV_UNDEFINE_SPACE_SPECIAL: index_removal,
}
DUPLICATION: dict[int, Preparation] = {CC.DUPLICATE: duplication}
ADMINISTRATION = OF_OBJECTS | OF_INDICES | DUPLICATION

every_command = pytest.mark.parametrize("code", ADMINISTRATION, ids=lambda code: CC(code).name)
of_objects = pytest.mark.parametrize("code", OF_OBJECTS, ids=lambda code: CC(code).name)


def having(*roles: str) -> set[int]:
    """The implemented commands with a handle of one of these roles."""
    return {code for code in COMMANDS if any(handle.role in roles for handle in HANDLES[code])}


def test_every_such_command_is_tried() -> None:
    assert having("ADMIN") == set(OF_OBJECTS | OF_INDICES)
    assert having("DUP") == set(DUPLICATION)


def policy_for(code: int) -> tuple[Assertion, dict[str, tuple[Assertion, ...]]]:
    """A policy that can be fulfilled in several ways, and these ways."""
    ways: dict[str, tuple[Assertion, ...]] = {
        "the command": (command_code(code),),
        "another command": (command_code(CC.SIGN),),
        "a password": (PASSWORD,),
        "an HMAC": (AUTH_VALUE,),
    }
    choice = either(*(policy_of(ALG.SHA256, *way) for way in ways.values()))
    return choice, {name: (*way, choice) for name, way in ways.items()}


def not_enough(tester: Tester, code: int, entity: int) -> Iterator[tuple[Password | Session, int]]:
    """Authorizations that the role USER would take, and how they are refused."""
    _, ways = policy_for(code)
    yield Password(AUTH), RC.AUTH_TYPE
    proven = tester.start_session()
    proven.auth_value = AUTH
    yield proven, RC.AUTH_TYPE
    bound = tester.start_session(bind=entity, bind_auth=AUTH)
    bound.proves_auth_value = False
    yield bound, RC.AUTH_TYPE
    password = session_with(tester, *ways["a password"])
    password.password = AUTH
    yield password, session_error(RC.POLICY_FAIL, 1)
    proven = session_with(tester, *ways["an HMAC"])
    proven.auth_value = AUTH
    yield proven, session_error(RC.POLICY_FAIL, 1)
    yield session_with(tester, *ways["another command"]), session_error(RC.POLICY_CC, 1)
    yield session_with(tester), session_error(RC.POLICY_FAIL, 1)


def run(tester: Tester, code: int, prepared: Prepared, auth: Password | Session) -> int:
    """The response code with this authorization of the first handle."""
    auths = [auth, *prepared.others]
    return tester.run(code, prepared.handles, prepared.params, auths).rc


@every_command
def test_what_is_enough_for_a_user_is_not_for_an_administrator(both: Both, code: int) -> None:
    """With userWithAuth and, where it may be, adminWithPolicy; an index always has both."""
    attributes = USER_AUTH if code in DUPLICATION else USER_AUTH | ADMIN_POLICY
    choice, ways = policy_for(code)
    for tester in both:
        prepared = ADMINISTRATION[code](tester, attributes, policy_of(ALG.SHA256, choice))
        for auth, rc in not_enough(tester, code, prepared.handles[0]):
            assert run(tester, code, prepared, auth) == rc
            if isinstance(auth, Session):
                areas.flush(tester, auth.handle)
        allowed = session_with(tester, *ways["the command"])
        allowed.attributes = 0
        assert run(tester, code, prepared, allowed) == 0


@of_objects
def test_without_admin_with_policy_an_auth_value_is_enough(both: Both, code: int) -> None:
    """Whatever userWithAuth says, which is about the role USER; a policy still names the command.

    USER would be refused with RC.AUTH_UNAVAILABLE.
    """
    choice, ways = policy_for(code)
    for tester in both:
        prepared = OF_OBJECTS[code](tester, 0, policy_of(ALG.SHA256, choice))
        session = session_with(tester, *ways["an HMAC"])
        session.auth_value = AUTH
        assert run(tester, code, prepared, session) == session_error(RC.POLICY_FAIL, 1)
        assert run(tester, code, prepared, Password(b"guess")) == session_error(RC.BAD_AUTH, 1)
        assert run(tester, code, prepared, Password(AUTH)) == 0


def test_no_attribute_lets_an_auth_value_duplicate(both: Both) -> None:
    for attributes in (0, USER_AUTH):
        for tester in both:
            prepared = duplication(tester, attributes, bytes(32))
            assert run(tester, CC.DUPLICATE, prepared, Password(AUTH)) == RC.AUTH_TYPE
            areas.flush(tester, prepared.handles[0])


@pytest.mark.parametrize(
    "code", sorted(having("ADMIN") & having("USER")), ids=lambda code: CC(code).name
)
def test_a_role_of_the_second_handle_is_its_own(both: Both, code: int) -> None:
    """The second authorization is proven as well, for the role USER."""
    choice, ways = policy_for(code)
    for tester in both:
        prepared = ADMINISTRATION[code](tester, USER_AUTH, policy_of(ALG.SHA256, choice))
        session = session_with(tester, *ways["the command"])
        wrong = replace(prepared, others=(Password(b"guess"),))
        assert run(tester, code, wrong, session) == session_error(RC.BAD_AUTH, 2)
        if code in (CC.CERTIFY, CC.CERTIFY_X509):
            policy_only = areas.ecc(OWN & ~USER_AUTH | SIGN | NO_DA, policy=bytes(32))
            handles = [prepared.handles[0], areas.loaded_primary(tester, policy_only)]
            unusable = replace(prepared, handles=handles)
            assert run(tester, code, unusable, session) == RC.AUTH_UNAVAILABLE
