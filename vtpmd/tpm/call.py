"""A command in flight, passed from stage to stage (Part 3, clause 5)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

from .core.authorization import Request
from .core.command_spec import CommandSpec
from .crypto.hashes import digest_size
from .state import Entity, Session
from .wire.attributes import TPMA_SESSION
from .wire.constants import ST

HEADER = Struct(">HII")
"""Tag, size, and command or response code."""
_HEADER_SIZE = HEADER.size
EXTRA_USE = TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT | TPMA_SESSION.AUDIT
"""What a session can do in addition to, or instead of, authorizing."""
_SIZE = 4
"""Octets of parameterSize."""
_ACKNOWLEDGMENT_SIZE = 2 + 1 + 2
"""Octets of a TPMS_AUTH_RESPONSE without nonce and HMAC."""


def command_without_handles(code: int, parameters: bytes) -> bytes:
    """The octets of a command that has neither handles nor sessions."""
    return HEADER.pack(ST.NO_SESSIONS, HEADER.size + len(parameters), code) + parameters


@dataclass(frozen=True, slots=True)
class PasswordUse:
    """A password in the authorization area."""

    proof: bytes = field(repr=False)


@dataclass(slots=True)
class SessionUse:
    """A session in the authorization area."""

    session: Session
    nonce_caller: bytes
    attributes: int
    proof: bytes = field(repr=False)
    entity: Entity | None = None
    """What it authorizes, if anything."""
    proves_auth_value: bool = False

    def has(self, attribute: int) -> bool:
        """Whether a TPMA_SESSION bit is SET."""
        return bool(self.attributes & attribute)

    def is_password(self) -> bool:
        """Whether the policy requires the authValue in the clear instead of an HMAC."""
        policy = self.session.policy
        return policy is not None and policy.password_needed and self.entity is not None

    def hmac_key(self) -> bytes:
        """sessionKey, and authValue if it has to be proven (Part 1, 16.6.5)."""
        if self.proves_auth_value and self.entity is not None:
            return self.session.session_key + self.entity.auth_value
        return self.session.session_key

    def encryption_key(self) -> bytes:
        """sessionValue, which includes authValue whether it is proven or not (Part 1, 18.1)."""
        if self.entity is not None:
            return self.session.session_key + self.entity.auth_value
        return self.session.session_key

    def lacks_hmac(self, hmac_key: bytes) -> bool:
        """Whether command and response have no HMAC (Part 1, 16.6.16).

        A caller without a key may also send an HMAC with an empty key.
        """
        return not self.proof and not hmac_key


@dataclass(slots=True, repr=False)
class Call:
    """One command in flight; it holds secrets, so it has no repr."""

    spec: CommandSpec
    has_sessions: bool
    """The tag is TPM_ST_SESSIONS, of the command and of the response."""
    buffer: bytes
    """The command; once its first parameter is decrypted, with that."""
    offset: int
    """How far the buffer has been read."""
    entities: Sequence[Any] = ()
    """What the handles refer to."""
    handles: Sequence[Any] = ()
    """The same for the action: None stands for TPM_RH_NULL where that is optional."""
    uses: Sequence[PasswordUse | SessionUse] = ()
    """What is in the authorization area, in order."""
    sessions: Sequence[SessionUse] = ()
    """Those of them that are no passwords."""
    decrypting: SessionUse | None = None
    encrypting: SessionUse | None = None
    auditing: SessionUse | None = None
    audit_alg: int | None = None
    """The hash of command audit, if the command is audited."""
    arguments: Sequence[Any] = field(init=False)
    """The parameters."""
    handle_area: bytes = b""
    response: bytes = b""
    """The response's parameter area."""
    _request: Request | None = None

    def framing_size(self) -> int:
        """The most octets of the response that are neither handle nor parameters."""
        if not self.has_sessions:
            return _HEADER_SIZE
        size = _HEADER_SIZE + _SIZE + _ACKNOWLEDGMENT_SIZE * len(self.uses)
        for use in self.sessions:
            size += len(use.session.nonce_tpm) + digest_size(use.session.auth_hash)
        return size

    def request(self) -> Request:
        """What sessions and audits protect: the parameters are those received, still encrypted."""
        if self._request is None:
            self._request = Request(self.spec, self.entities, self.buffer[self.offset :])
        return self._request
