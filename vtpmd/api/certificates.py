"""Requests and reports about EKs, their certificates, and the own authority; part of `schema`."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from .base import Report, Request


@dataclass(frozen=True, kw_only=True)
class EkRequestsRequest(Request):
    """Which kinds of EKs requests are wanted for; None for all that are configured.

    `trust_now`: note the keys if they were not noted when the TPM was made.
    """

    kinds: tuple[str, ...] | None = None
    trust_now: bool = False


@dataclass(frozen=True, kw_only=True)
class EkImportRequest(Request):
    """Files with certificates, by name, in base64; those that they have to chain to, if any."""

    files: dict[str, str]
    roots: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class EkRenewRequest(Request):
    """`trust_now` as in EkRequestsRequest."""

    trust_now: bool = False


@dataclass(frozen=True, kw_only=True)
class CaRevokeRequest(Request):
    """Certificates to revoke: of an instance by name or UUID, or one by its serial number."""

    subject: str
    reason: str = "unspecified"


@dataclass(frozen=True, kw_only=True)
class CaImportRequest(Request):
    """The chain of the issuing CA that was requested, in base64, and the name of its file."""

    file: str
    chain: str


@dataclass(frozen=True, kw_only=True)
class CaRekeyRequest(Request):
    """`provider` is the key provider to move to; None: the one that holds the key now."""

    provider: str | None = None


@dataclass(frozen=True, kw_only=True)
class EkKey(Report):
    """An EK: its public key (PEM), its Name (hexadecimal), and its certificate (PEM) if it has one.

    `state`: "none", "valid", "expired", "revoked" or "stale". `source`: "own" or "foreign".
    """

    kind: str
    public_key: str
    name: str
    state: str
    certificate: str = ""
    serial: str = ""
    issuer: str = ""
    source: str = ""
    not_after: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class EkInfo(Report):
    """The EKs of an instance; `certificates` as in InstanceInfo.

    `identity`: the UUID of the TPM, which copies share. `known`: why its keys are believed: "made",
    "trusted" or "restored"; empty if they are not. `chain`: the authorities' certificates (PEM).
    """

    name: str
    uuid: UUID
    identity: UUID
    certificates: str
    known: str
    keys: tuple[EkKey, ...]
    chain: str


@dataclass(frozen=True, kw_only=True)
class EkRequests(Report):
    """Requests for certificates (PKCS#10 in PEM) by kind of EK."""

    requests: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class CaInfo(Report):
    """The own authority: who issues now, the root above, and all of that chain (PEM).

    `requested`: a request for another issuing CA is out.
    """

    issuing: str
    root: str
    chain: str
    requested: bool


@dataclass(frozen=True, kw_only=True)
class CaRequest(Report):
    """A request for an issuing CA (PKCS#10 in PEM)."""

    request: str


@dataclass(frozen=True, kw_only=True)
class CaRevocationLists(Report):
    """The revocation list of each issuing CA (PEM), the current one first."""

    lists: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaRevocation(Report):
    """The serial numbers (hexadecimal) that were revoked now."""

    revoked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaCertificate(Report):
    """A certificate that was given to a TPM; `key`: the SHA-256 of its key, in hexadecimal.

    `revoked`: why it was, empty if it was not. `refused`: the TPM did not take it.
    """

    serial: str
    identity: UUID
    kind: str
    key: str
    source: str
    issuer: str
    issued: datetime
    not_after: datetime
    revoked: str
    revoked_at: datetime | None = None
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class CaCertificates(Report):
    """All certificates in the ledger, in the order in which they were given out."""

    certificates: tuple[CaCertificate, ...]
