"""The content of vtpmd.yaml: strict types, no unknown keys, sensible defaults."""

import grp
import pwd
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from vtpmd.kms import registry
from vtpmd.kms.settings import (
    AbsolutePath,
    ProviderName,
    ProviderSettings,
    ReadFile,
    Section,
)
from vtpmd.telemetry.log import LogFormat, LogLevel


def _word(value: object) -> object:
    """YAML reads off and on, unless in quotes, as false and true."""
    return ("off", "on")[value] if isinstance(value, bool) else value


Sandbox = Annotated[Literal["require", "best-effort", "off"], BeforeValidator(_word)]
MemoryMerge = Annotated[Literal["off", "on"], BeforeValidator(_word)]
Rollback = Annotated[Literal["enforce", "warn", "off"], BeforeValidator(_word)]
ClonePolicy = Literal["copy", "replace"]
SOCKET_PATH_LIMIT = 107  # sun_path holds 108 octets with the closing NUL (unix(7))
_LONGEST_IDLE = 365 * 86400
_MAX_ID = 0xFFFFFFFE  # the next one means "nobody" to chown(2)


def socket_mode(value: object) -> int:
    """YAML reads 0660 as an octal number; "0660" in quotes and "0o660" mean the same."""
    if isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{3}", value):
        value = int(value.replace("o", ""), 8)
    if not isinstance(value, int) or isinstance(value, bool) or value & ~0o777:
        raise ValueError('an octal mode such as "0660" is expected')
    if value & 0o600 != 0o600:
        raise ValueError("the owner must be able to read and write")
    return value


def _profile(value: str) -> str:
    base, *restrictions = value.split(" without ")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", base):
        raise ValueError("profiles have names such as default-v1")
    if restrictions and not re.fullmatch(r"[A-Z0-9_-]+( [A-Z0-9_-]+)*", restrictions[-1]):
        raise ValueError('restrictions look like "default-v1 without SHA1 RSA-4096 CC_CLEAR"')
    if len(restrictions) > 1:
        raise ValueError('there is one "without", followed by all that is left out')
    return value


def _distinct(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("each may be named only once")
    return values


def user_id(name: str) -> int:
    """The UID of a user's name, or that UID in digits (107, +107).

    Raises ValueError when there is no such user.
    """
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return _number(name, "user")


def group_id(name: str) -> int:
    """The GID of a group's name or of digits, as `user_id`."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return _number(name, "group")


def _number(name: str, kind: str) -> int:
    if not re.fullmatch(r"\+?[0-9]{1,10}", name, re.ASCII) or int(name) > _MAX_ID:
        raise ValueError(f"there is no {kind} {name!r}")
    return int(name)


def _user(name: str) -> str:
    user_id(name)
    return name


def _group(name: str) -> str:
    group_id(name)
    return name


SocketMode = Annotated[
    int,
    BeforeValidator(socket_mode),
    WithJsonSchema({"type": "string", "format": "octal mode"}),
]
UserName = Annotated[str, AfterValidator(_user)]
GroupName = Annotated[str, AfterValidator(_group)]
Profile = Annotated[str, Field(max_length=1000), AfterValidator(_profile)]
"""A profile's name and, after "without", the features that a TPM is to lack."""
PcrBank = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,16}$")]
PcrBanks = Annotated[list[PcrBank], Field(min_length=1), AfterValidator(_distinct)]
EkKind = Literal["rsa-2048", "ecc-p256", "ecc-p384"]
Url = Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=1000)]
AnyProvider = Annotated[ProviderSettings, PlainValidator(registry.check)]


class Admin(Section):
    """Who may use the admin socket, in addition to root and the daemon's own user."""

    group: GroupName | None = None


class Sockets(Section):
    """The sockets that QEMU connects to."""

    mode: SocketMode = 0o660
    owner: UserName | None = None
    group: GroupName | None = None
    data_socket: bool = False


class Defaults(Section):
    """What `vtpmctl create` uses unless told otherwise."""

    pcr_banks: PcrBanks = Field(default=["sha256", "sha384"])
    profile: Profile = "default-v1"


class Clone(Section):
    """What `vtpmctl clone` does unless told otherwise: `copy` the secrets, or `replace` them."""

    policy: ClonePolicy = "copy"


class Audit(Section):
    """Where the audit log goes: to `file`, or into the log if there is none.

    With `reads` also requests that change nothing.
    """

    file: AbsolutePath | None = None
    reads: bool = True


class Identity(Section):
    """Certificates of endorsement keys, and who issues them.

    `ca`: vtpmd's `own` authority, an `external` one, of which an administrator brings them, or
    `none`. `keys`: which EKs get one. `lifetime` in days. `roots`: certificates that those of a
    foreign authority have to chain to.
    """

    ca: Literal["own", "external", "none"] = "own"
    keys: Annotated[list[EkKind], Field(min_length=1), AfterValidator(_distinct)] = Field(
        default=["rsa-2048", "ecc-p256", "ecc-p384"]
    )
    subject: Literal["uuid", "empty"] = "uuid"
    lifetime: Annotated[int, Field(ge=1, le=36500)] | None = None
    ca_issuers_url: Url | None = None
    crl_url: Url | None = None
    roots: ReadFile | None = None


class Metrics(Section):
    """Metrics on a port of the loopback interface, beside the admin socket.

    `per_instance`: also some of each instance, with its UUID and name as labels.
    """

    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    per_instance: bool = False


class Log(Section):
    """Lines on standard error."""

    level: LogLevel = "info"
    format: LogFormat = "json"


TWO_OF_A_NAME: Final = "two providers have the same name"


class Configuration(Section):
    """The whole file.

    `idle_timeout`: seconds after which a TPM that nobody uses sleeps; 0: never.
    """

    state_dir: AbsolutePath = Path("/var/lib/vtpmd")
    runtime_dir: AbsolutePath = Path("/run/vtpmd")
    admin: Admin = Admin()
    sockets: Sockets = Sockets()
    sandbox: Sandbox = "require"
    memory_merge: MemoryMerge = "off"
    idle_timeout: Annotated[float, Field(ge=0, le=_LONGEST_IDLE)] = 600.0
    rollback: Rollback = "warn"
    anchor_dir: AbsolutePath | None = None
    defaults: Defaults = Defaults()
    key_providers: list[AnyProvider] = Field(default_factory=lambda: [registry.default()])
    default_provider: ProviderName | None = None
    recovery_provider: ProviderName | None = None
    clone: Clone = Clone()
    identity: Identity = Identity()
    audit: Audit = Audit()
    metrics: Metrics = Metrics()
    log: Log = Log()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [provider.name for provider in self.key_providers]
        faults = []
        if len(set(names)) != len(names):
            faults.append(f"key_providers: {TWO_OF_A_NAME}")
        for role in ("default_provider", "recovery_provider"):
            chosen = getattr(self, role)
            if chosen is not None and chosen not in names:
                faults.append(f"{role}: no key provider is named {chosen}")
        if len(bytes(self.adoption_socket(UUID(int=0)))) > SOCKET_PATH_LIMIT:
            faults.append("runtime_dir: the path is too long for a Unix socket in it")
        if faults:  # one line each, that begins with the setting
            raise ValueError("\n".join(faults))
        return self

    @property
    def admin_socket(self) -> Path:
        """The socket that vtpmctl connects to."""
        return self.runtime_dir / "admin.sock"

    @property
    def workers_dir(self) -> Path:
        """The directory of the sockets on which workers wait for the next daemon."""
        return self.runtime_dir / "workers"

    def adoption_socket(self, uuid: UUID) -> Path:
        """The socket on which the worker of an instance waits for the next daemon."""
        return self.workers_dir / str(uuid)

    @property
    def keeper_socket(self) -> Path:
        """The socket on which the keeper of sleeping TPMs waits for the next daemon."""
        return self.workers_dir / "keeper"

    @property
    def provider_for_new_instances(self) -> str | None:
        """The default provider, or the only one there is."""
        if self.default_provider is None and len(self.key_providers) == 1:
            return self.key_providers[0].name
        return self.default_provider
