"""Whether a session authorizes the use of an entity (Part 1, clause 16; Part 3, 5.6).

Generic and fail-closed: every handle with a role passes through `authorize` before any action
runs. Deferred assertions of policies are checked here and nowhere else.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..crypto.hashes import digest
from ..rc import RC, TpmError
from ..state import (
    CountdownTimer,
    Entity,
    Hierarchy,
    LoadedObject,
    NvIndex,
    Pcr,
    PolicyState,
    Session,
    Tpm,
)
from ..wire.attributes import TPMA_NV, TPMA_OBJECT
from ..wire.constants import ALG, CC, RH
from . import dictionary_attack, nv_pin, pcrs
from .command_spec import Auth, CommandSpec

# Looking up a member of an Enum takes 0.1 µs in Python 3.11: many commands need these.
_USER, _NO_ALGORITHM = Auth.USER, int(ALG.NULL)


@dataclass(slots=True)
class Request:
    """What sessions protect: the command, the Names of its handles, its parameters.

    An action can change Names, so a cpHash needed after it is computed before.
    """

    spec: CommandSpec
    entities: Sequence[Entity | Session]
    parameters: bytes = field(repr=False)
    _cp_hashes: dict[int, bytes] = field(default_factory=dict)

    def cp_hash(self, alg: int) -> bytes:
        """cpHash (Part 1, 15.7), over the parameters as received."""
        found = self._cp_hashes.get(alg)
        if found is None:
            found = digest(alg, self.spec.code.to_bytes(4), *self._names(), self.parameters)
            self._cp_hashes[alg] = found
        return found

    def name_hash(self, alg: int) -> bytes:
        """H(Names of the handles): what TPM2_PolicyNameHash binds (Part 3, 23.14)."""
        return digest(alg, *self._names())

    def parameters_hash(self, alg: int) -> bytes:
        """H(commandCode || parameters): what TPM2_PolicyParameters binds (Part 3, 23.24)."""
        return digest(alg, self.spec.code.to_bytes(4), self.parameters)

    def _names(self) -> list[bytes]:
        return [entity.name for entity in self.entities]

    def template_hash(self, alg: int) -> bytes | None:
        """H(inPublic): what TPM2_PolicyTemplate binds (Part 3, 23.21); None for other commands."""
        if not self.spec.has_template:
            return None
        start = 2 + int.from_bytes(self.parameters[:2])
        size = int.from_bytes(self.parameters[start : start + 2])
        return digest(alg, self.parameters[start + 2 : start + 2 + size])


_BOUND_HASHES: dict[str, Callable[[Request, int], bytes | None]] = {
    "cp_hash": Request.cp_hash,
    "name_hash": Request.name_hash,
    "parameters": Request.parameters_hash,
    "template": Request.template_hash,
}
"""By `PolicyState.bound_kind`."""


def authorize_by_password(tpm: Tpm, spec: CommandSpec, entity: Entity, role: Auth) -> None:
    """Check everything but the password, which has to equal the authValue.

    Order and codes are those of libtpms: a password for an object without userWithAuth is
    RC.AUTH_UNAVAILABLE and not RC.POLICY_FAIL (Part 3, 5.6). Raises TpmError without a position.
    """
    _refuse_physical_presence(tpm, spec, entity)
    if entity.is_da_protected():
        dictionary_attack.begin_use(tpm, is_lockout=entity.handle == RH.LOCKOUT)
    _require_auth_value(entity, role, spec)
    if isinstance(entity, NvIndex):
        nv_pin.begin_use(tpm, entity)


def authorize(tpm: Tpm, request: Request, entity: Entity, role: Auth, session: Session) -> bool:
    """The same for a session; returns whether the authValue has to be proven."""
    spec, policy = request.spec, session.policy
    _refuse_physical_presence(tpm, spec, entity)
    if policy is not None:
        used = policy.auth_value_needed or policy.password_needed
    else:
        used = not is_bound_to(session, entity)
    if used and entity.is_da_protected():
        dictionary_attack.begin_use(tpm, is_lockout=entity.handle == RH.LOCKOUT)
    if policy is None:
        _require_auth_value(entity, role, spec)
    else:
        if not _auth_policy_available(entity, role, spec):
            raise TpmError(RC.AUTH_UNAVAILABLE)
        _check_policy(tpm, request, entity, role, session, policy)
    if used and isinstance(entity, NvIndex):
        nv_pin.begin_use(tpm, entity)
    return used


def _refuse_physical_presence(tpm: Tpm, spec: CommandSpec, entity: Entity) -> None:
    """It can't be asserted on a virtual machine."""
    if spec.code in tpm.permanent.pp_commands and entity.handle == RH.PLATFORM:
        raise TpmError(RC.PP)


def _require_auth_value(entity: Entity, role: Auth, spec: CommandSpec) -> None:
    """Raise unless the authValue can authorize the role."""
    kind = type(entity)
    if (role is not _USER or kind is Pcr) and _policy_required(entity, role):
        raise TpmError(RC.AUTH_TYPE)
    available = _AUTH_VALUE_AVAILABLE[kind]
    if available is not None and not available(entity, role, spec):
        raise TpmError(RC.AUTH_UNAVAILABLE)


def is_bound_to(session: Session, entity: Entity) -> bool:
    """Whether a session was bound to this entity as it is now (Part 1, 16.6.10)."""
    return (
        session.is_bound
        and session.bound_name == entity.name
        and hmac.compare_digest(session.bound_auth_value, entity.auth_value)
    )


def _policy_required(entity: Entity, role: Auth) -> bool:
    if isinstance(entity, Pcr) and role is _USER:
        return entity.policy_alg != _NO_ALGORITHM
    if role is Auth.ADMIN and isinstance(entity, LoadedObject):
        return bool(entity.public.object_attributes & TPMA_OBJECT.ADMIN_WITH_POLICY)
    return True


def _of_object(entity: LoadedObject, role: Auth, spec: CommandSpec) -> bool:
    if entity.sequence is not None:
        return True
    if entity.sensitive is None:
        return False
    if role is _USER:
        return bool(entity.public.object_attributes & TPMA_OBJECT.USER_WITH_AUTH)
    return not entity.public.object_attributes & TPMA_OBJECT.ADMIN_WITH_POLICY


def _of_index(entity: NvIndex, role: Auth, spec: CommandSpec) -> bool:
    if spec.writes_index:
        return entity.has(TPMA_NV.AUTHWRITE)
    return nv_pin.is_pin(entity) or entity.has(TPMA_NV.AUTHREAD)


def _of_timer(entity: CountdownTimer, role: Auth, spec: CommandSpec) -> bool:
    return entity.auth_value_available


_AUTH_VALUE_AVAILABLE: dict[type, Callable[[Any, Auth, CommandSpec], bool] | None] = {
    Hierarchy: None,
    Pcr: None,
    LoadedObject: _of_object,
    NvIndex: _of_index,
    CountdownTimer: _of_timer,
}
"""Whether the authValue of each kind of entity can authorize; None: always."""


def _auth_policy_available(entity: Entity, role: Auth, spec: CommandSpec) -> bool:
    if isinstance(entity, LoadedObject):
        return entity.sequence is None and entity.sensitive is not None
    if isinstance(entity, NvIndex):
        if not entity.auth_policy:
            return False
        if role is not Auth.USER:
            return True
        return entity.has(TPMA_NV.POLICYWRITE if spec.writes_index else TPMA_NV.POLICYREAD)
    if isinstance(entity, Pcr):
        return pcrs.ATTRIBUTES[entity.handle].authorized
    return bool(entity.auth_policy)


def _check_policy(
    tpm: Tpm,
    request: Request,
    entity: Entity,
    role: Auth,
    session: Session,
    policy: PolicyState,
) -> None:
    """The digest, and every assertion deferred to the moment of use (Part 1, 16.7.7.3)."""
    if request.spec.code == CC.POLICY_SECRET and not (
        policy.password_needed or policy.auth_value_needed
    ):
        raise TpmError(RC.MODE)
    if policy.pcr_update_counter not in (None, tpm.reset.pcr_update_counter):
        raise TpmError(RC.PCR_CHANGED)
    if not _is_policy_of(entity, session, policy):
        raise TpmError(RC.POLICY_FAIL)
    _check_timeout(tpm, session, policy)
    _check_command_code(policy, request.spec.code, role)
    if policy.locality and not allows_locality(policy.locality, tpm.locality):
        raise TpmError(RC.LOCALITY)
    if policy.physical_presence_needed:
        raise TpmError(RC.PP)
    if policy.secure_channel_needed:
        raise TpmError(RC.CHANNEL)  # this TPM has no secure channel
    if not (_is_bound_request(request, session, policy) and _is_as_written(entity, policy)):
        raise TpmError(RC.POLICY_FAIL)


def _is_policy_of(entity: Entity, session: Session, policy: PolicyState) -> bool:
    """Whether the digest is the entity's authPolicy; an Empty Policy authorizes nothing."""
    return (
        bool(entity.auth_policy)
        and hmac.compare_digest(policy.digest, entity.auth_policy)
        and entity.policy_alg == session.auth_hash
    )


def _check_timeout(tpm: Tpm, session: Session, policy: PolicyState) -> None:
    if policy.timeout:
        tpm.require_nv()  # without it Time stands still
        if policy.timeout < tpm.volatile.time or session.epoch != tpm.volatile.time_epoch:
            raise TpmError(RC.EXPIRED)


def _check_command_code(policy: PolicyState, code: int, role: Auth) -> None:
    """Limit a policy to its command; the roles ADMIN and DUP require such a limit."""
    if policy.command_code:
        if policy.command_code != code:
            raise TpmError(RC.POLICY_CC)
    elif role is not Auth.USER:
        raise TpmError(RC.POLICY_FAIL)


def _is_bound_request(request: Request, session: Session, policy: PolicyState) -> bool:
    if not policy.bound_hash:
        return True
    actual = _BOUND_HASHES[policy.bound_kind](request, session.auth_hash)
    return actual is not None and hmac.compare_digest(actual, policy.bound_hash)


def _is_as_written(entity: Entity, policy: PolicyState) -> bool:
    if policy.nv_written is None:
        return True
    return isinstance(entity, NvIndex) and entity.has(TPMA_NV.WRITTEN) == policy.nv_written


def allows_locality(allowed: int, locality: int) -> bool:
    """Whether a TPMA_LOCALITY admits a locality (Part 2, 8.5)."""
    if locality < 5:
        return bool(allowed >> locality & 1) and allowed < 32
    return allowed == locality
