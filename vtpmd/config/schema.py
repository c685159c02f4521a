"""What may stand in vtpmd.yaml: strict types, no unknown keys, sensible defaults."""

import grp
import pwd
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from vtpmd.telemetry.log import LogFormat, LogLevel

PcrBank = Literal["sha1", "sha256", "sha384", "sha512"]
ProfileName = Literal["default-v1", "sha3-v1", "fips-v1"]
Sandbox = Literal["require", "best-effort", "off"]
ClonePolicy = Literal["copy", "replace"]
KmipMode = Literal["get", "encrypt"]
Pkcs11Mechanism = Literal["gcm", "key-wrap"]
KeyScope = Literal["instance", "shared"]
TRANSIT_KEY = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?"
_HOST = r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])"
_MOUNT = r"[A-Za-z0-9_-]{1,64}"
SOCKET_PATH_LIMIT = 107  # sun_path holds 108 octets with the closing NUL (unix(7))


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path is expected")
    path = Path(value)
    if not path.is_absolute():
        raise ValueError("the path must be absolute")
    return path


def _mode(value: object) -> int:
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
    if base not in get_args(ProfileName):
        raise ValueError(f"the profiles are {', '.join(get_args(ProfileName))}")
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
    """The UID of a user's name. Raises ValueError when there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {name!r}") from None


def group_id(name: str) -> int:
    """The GID of a group's name. Raises ValueError when there is no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {name!r}") from None


def _user(name: str) -> str:
    user_id(name)
    return name


def _group(name: str) -> str:
    group_id(name)
    return name


AbsolutePath = Annotated[Path, BeforeValidator(_path)]
SocketMode = Annotated[int, BeforeValidator(_mode)]
UserName = Annotated[str, AfterValidator(_user)]
GroupName = Annotated[str, AfterValidator(_group)]
ProviderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
KeyLabel = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
TransitKeyName = Annotated[str, Field(pattern=f"^{TRANSIT_KEY}$")]
TransitKeyPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
AliasPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9/_-]{1,128}$")]
AwsKeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9:/_-]{1,2048}$")]
MountPath = Annotated[str, Field(pattern=f"^{_MOUNT}(/{_MOUNT})*$")]
HttpsUrl = Annotated[str, Field(pattern=f"^https://{_HOST}(:[0-9]{{1,5}})?$")]
PlainText = Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]
TokenText = Annotated[str, Field(pattern=r"^[ -~]{0,31}[!-~]$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Timeout = Annotated[float, Field(gt=0, le=60)]
Profile = Annotated[str, Field(max_length=1000), AfterValidator(_profile)]
"""What a TPM offers: a profile's name and, after "without", what it is to lack of it."""
PcrBanks = Annotated[list[PcrBank], Field(min_length=1), AfterValidator(_distinct)]


class Section(BaseModel):
    """Base of all sections: exact types, nothing unknown, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Admin(Section):
    """Who may use the admin socket, besides root and the daemon's own user."""

    group: GroupName | None = None


class Sockets(Section):
    """The sockets virtual machines connect to."""

    mode: SocketMode = 0o660
    owner: UserName | None = None
    group: GroupName | None = None
    data_socket: bool = False


class Defaults(Section):
    """What `vtpmctl create` uses unless told otherwise."""

    pcr_banks: PcrBanks = ["sha256", "sha384"]
    profile: Profile = "default-v1"


class Provider(Section):
    """Base of the key providers: where the keys come from that protect the instances' keys."""

    type: str
    name: ProviderName

    def settings(self) -> dict[str, Any]:
        """What the provider is made from: everything but its name."""
        return self.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)


class LocalProvider(Provider):
    """A keyring on this host; `keyring` defaults to `<state_dir>/keyring`.

    With `require_backup` no key is wrapped before `vtpmctl provider backup` has saved the keyring.
    """

    type: Literal["local"]
    keyring: AbsolutePath | None = None
    require_backup: bool = False


class KeyService(Provider):
    """Base of the providers whose keys are made and kept elsewhere.

    With `key_scope: instance` every instance has a key of its own there; with `shared` all use the
    one that `key_name` names. A request has `timeout` seconds.
    """

    key_scope: KeyScope = "instance"
    key_name: str | None = None
    timeout: Timeout = 5.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.key_scope == "shared") != (self.key_name is not None):
            raise ValueError("key_name belongs to key_scope: shared, which needs it")
        return self


class KmipProvider(KeyService):
    """Keys at a key management server that speaks KMIP 1.4, reached with a client certificate.

    The names of instances' keys begin with `key_prefix`. `mode: get` fetches the key for every
    use, `encrypt` leaves it at the server, which then has to know AES-GCM.
    """

    type: Literal["kmip"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 5696
    ca: AbsolutePath
    certificate: AbsolutePath
    key: AbsolutePath
    mode: KmipMode = "get"
    key_prefix: KeyLabel = "vtpmd-"
    key_name: KeyLabel | None = None


class VaultAppRole(Section):
    """Login with a role id and a secret id; the file with the latter may be a credential."""

    method: Literal["approle"]
    mount: MountPath = "approle"
    role_id: PlainText
    secret_id_file: AbsolutePath


class VaultCertificate(Section):
    """Login with a client certificate, as `role` or whichever role it fits."""

    method: Literal["cert"]
    mount: MountPath = "cert"
    role: PlainText | None = None
    certificate: AbsolutePath
    key: AbsolutePath


class VaultToken(Section):
    """A token that somebody else, such as an agent, keeps in a file."""

    method: Literal["token"]
    token_file: AbsolutePath


class VaultProvider(KeyService):
    """Keys in the Transit secrets engine, mounted at `mount`, of OpenBao or HashiCorp Vault.

    The names of instances' keys begin with `key_prefix`. `ca` issued the server's certificate.
    """

    type: Literal["vault"]
    url: HttpsUrl
    ca: AbsolutePath
    namespace: PlainText | None = None
    mount: MountPath = "transit"
    auth: Annotated[VaultAppRole | VaultCertificate | VaultToken, Discriminator("method")]
    key_prefix: TransitKeyPrefix = "vtpmd-"
    key_name: TransitKeyName | None = None


class Pkcs11Provider(KeyService):
    """Keys that never leave a token, such as a hardware security module, used through a PKCS#11
    `module`, which finds `environment` in its process.

    The token has the label `token` and, if that is not enough, the `serial` number; the PIN of its
    user is in `pin_file`, which may be a credential. `mechanism`: AES-GCM or AES key wrap, by
    default the first of them that the token knows. Keys are named by labels, those of instances
    begin with `key_prefix`; without `create` somebody else has to make them.
    """

    type: Literal["pkcs11"]
    module: AbsolutePath
    token: TokenText
    serial: TokenText | None = None
    pin_file: AbsolutePath
    mechanism: Pkcs11Mechanism | None = None
    create: bool = True
    environment: dict[VariableName, str] = {}
    key_prefix: KeyLabel = "vtpmd-"
    key_name: KeyLabel | None = None
    timeout: Timeout = 10.0


class AwsKmsProvider(KeyService):
    """Keys of the AWS Key Management Service, with the credentials that the AWS SDK finds.

    `key_name` is a key's id, ARN or alias. AWS charges for every key: here `key_scope: instance`,
    whose keys have aliases that begin with `key_prefix`, has to be asked for. `endpoint` and the
    `ca` of its certificate take the place of the region's public ones.
    """

    type: Literal["aws-kms"]
    region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z0-9]+)+$")]
    endpoint: HttpsUrl | None = None
    ca: AbsolutePath | None = None
    profile: PlainText | None = None
    key_scope: KeyScope = "shared"
    key_prefix: AliasPrefix = "vtpmd-"
    key_name: AwsKeyName | None = None


class OtherProvider(Provider):
    """A provider of another package, which checks its settings itself."""

    model_config = ConfigDict(extra="allow")


PROVIDER_KINDS = ("local", "kmip", "vault", "pkcs11", "aws-kms")
_OTHER_KIND = "other"


def _provider_kind(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return str(kind) if kind in PROVIDER_KINDS else _OTHER_KIND


AnyProvider = Annotated[
    Annotated[LocalProvider, Tag("local")]
    | Annotated[KmipProvider, Tag("kmip")]
    | Annotated[VaultProvider, Tag("vault")]
    | Annotated[Pkcs11Provider, Tag("pkcs11")]
    | Annotated[AwsKmsProvider, Tag("aws-kms")]
    | Annotated[OtherProvider, Tag(_OTHER_KIND)],
    Discriminator(_provider_kind),
]


class Clone(Section):
    """What `vtpmctl clone` does unless told otherwise: `copy` the secrets, or `replace` them."""

    policy: ClonePolicy = "copy"


class Audit(Section):
    """Where the audit log goes: to `file`, or without one into the log.

    `reads`: also requests that only look.
    """

    file: AbsolutePath | None = None
    reads: bool = True


class Log(Section):
    """Lines on standard error."""

    level: LogLevel = "info"
    format: LogFormat = "json"


class Configuration(Section):
    """The whole file."""

    state_dir: AbsolutePath = Path("/var/lib/vtpmd")
    runtime_dir: AbsolutePath = Path("/run/vtpmd")
    admin: Admin = Admin()
    sockets: Sockets = Sockets()
    sandbox: Sandbox = "require"
    defaults: Defaults = Defaults()
    key_providers: list[AnyProvider] = [LocalProvider(type="local", name="local")]
    default_provider: ProviderName | None = None
    recovery_provider: ProviderName | None = None
    clone: Clone = Clone()
    audit: Audit = Audit()
    log: Log = Log()

    @model_validator(mode="after")
    def _consistent(self) -> "Configuration":
        names = [provider.name for provider in self.key_providers]
        if len(set(names)) != len(names):
            raise ValueError("key_providers: two providers have the same name")
        for role in ("default_provider", "recovery_provider"):
            chosen = getattr(self, role)
            if chosen is not None and chosen not in names:
                raise ValueError(f"{role}: no key provider is named {chosen}")
        if len(bytes(self.reattach_socket(UUID(int=0)))) > SOCKET_PATH_LIMIT:
            raise ValueError("runtime_dir: the path is too long for a Unix socket in it")
        return self

    @property
    def admin_socket(self) -> Path:
        """Where vtpmctl connects."""
        return self.runtime_dir / "admin.sock"

    @property
    def workers_dir(self) -> Path:
        """Where the sockets are on which workers wait for the next daemon."""
        return self.runtime_dir / "workers"

    def reattach_socket(self, uuid: UUID) -> Path:
        """Where the worker of an instance waits for the next daemon."""
        return self.workers_dir / str(uuid)

    @property
    def provider_for_new_instances(self) -> str | None:
        """The default provider, or the only one there is."""
        if self.default_provider is None and len(self.key_providers) == 1:
            return self.key_providers[0].name
        return self.default_provider
