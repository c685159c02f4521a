"""Requests and reports about EKs, their certificates, and the own authority; part of `schema`."""

from datetime import datetime
from uuid import UUID

from .base import Report, Request


class EkRequestsRequest(Request):
    """Which kinds of EKs requests are wanted for; None for all that are configured.

    `trust_now`: note the keys if they were not noted when the TPM was made.
    """

    kinds: tuple[str, ...] | None = None
    trust_now: bool = False


class EkImportRequest(Request):
    """Files with certificates, by name, in base64; those that they have to chain to, if any."""

    files: dict[str, str]
    roots: dict[str, str] | None = None


class EkRenewRequest(Request):
    """`trust_now` as in EkRequestsRequest."""

    trust_now: bool = False


class CaRevokeRequest(Request):
    """Certificates to revoke: of an instance by name or UUID, or one by its serial number."""

    subject: str
    reason: str = "unspecified"


class CaImportRequest(Request):
    """The chain of the issuing CA that was requested, in base64, and the name of its file."""

    file: str
    chain: str


class CaRekeyRequest(Request):
    """`provider` is the key provider to move to; None: the one that holds the key now."""

    provider: str | None = None


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


class EkRequests(Report):
    """Requests for certificates (PKCS#10 in PEM) by kind of EK."""

    requests: dict[str, str]


class CaInfo(Report):
    """The own authority: who issues now, the root above, and all of that chain (PEM).

    `requested`: a request for another issuing CA is out.
    """

    issuing: str
    root: str
    chain: str
    requested: bool


class CaRequest(Report):
    """A request for an issuing CA (PKCS#10 in PEM)."""

    request: str


class CaRevocationLists(Report):
    """The revocation list of each issuing CA (PEM), the current one first."""

    lists: tuple[str, ...]


class CaRevocation(Report):
    """The serial numbers (hexadecimal) that were revoked now."""

    revoked: tuple[str, ...]


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


class CaCertificates(Report):
    """All certificates in the ledger, in the order in which they were given out."""

    certificates: tuple[CaCertificate, ...]
