"""The messages about who a TPM is, and about its certificates; part of `messages`.

Certificates are in DER: those of EKs by kind ("rsa-2048"), and the chain of the authorities above
them, the issuer first. A seed is the endorsement primary seed, which is named and not told.
"""

from dataclasses import dataclass, field
from uuid import UUID

from vtpmd.storage.header import Handover
from vtpmd.storage.key import Key

from .words import FailureKind, SandboxMode


@dataclass(frozen=True)
class Reported:
    """What a TPM reports about itself; manufacturer and version are eight hexadecimal digits."""

    manufacturer: str
    model: str
    version: str
    family: str
    level: int
    revision: int


@dataclass(frozen=True)
class Identity:
    """Who a TPM is: its seed, what it reports, and its EKs by kind.

    Of each EK the public key (SubjectPublicKeyInfo), the Name and, where it was asked for, a
    request for its certificate (PKCS#10). `installed` is as in Installed.
    """

    seed: bytes
    reported: Reported
    keys: dict[str, bytes]
    names: dict[str, bytes]
    requests: dict[str, bytes] = field(default_factory=dict)
    installed: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """The TPM is made, and nobody has used it; it is stored after Complete."""

    identity: Identity


@dataclass(frozen=True)
class Complete:
    """Put these certificates into the NV of the TPM that was made, and store it."""

    certificates: dict[str, bytes]
    chain: tuple[bytes, ...]


@dataclass(frozen=True)
class Recertify:
    """Replace the certificates in a stored TPM that has this seed.

    File descriptors: its state files and its lock. `handover`: what the supervisor remembers.
    """

    uuid: UUID
    name: str
    key: Key
    seed: bytes
    certificates: dict[str, bytes]
    chain: tuple[bytes, ...]
    sandbox: SandboxMode = "require"
    handover: Handover = "ours"


@dataclass(frozen=True)
class Identify:
    """Open a stored TPM, which may be served, and say who it is.

    `keys`: the kinds of EKs that are asked for; with `requests` also a request for the certificate
    of each, whose common name is `subject`, if any. `moduli`: those of RSA keys, by kind, as far as
    they are known; with them the keys are found sooner. One file descriptor: its permanent state.
    """

    uuid: UUID
    name: str
    dek: bytearray = field(repr=False)
    keys: tuple[str, ...]
    requests: bool = False
    subject: str = ""
    sandbox: SandboxMode = "require"
    moduli: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Identified:
    """Who the stored TPM is."""

    identity: Identity


@dataclass(frozen=True)
class ReadInstalled:
    pass


@dataclass(frozen=True)
class Installed:
    """The seed, and the SHA-256 of each EK certificate in NV; that of the whole "chain", too."""

    seed: bytes
    certificates: dict[str, bytes]


@dataclass(frozen=True)
class Certify:
    """Replace the certificates in NV, as Recertify does."""

    seed: bytes
    certificates: dict[str, bytes]
    chain: tuple[bytes, ...]


@dataclass(frozen=True)
class Certified:
    """Certify is done and durable."""

    generation: int


@dataclass(frozen=True)
class NotCertified:
    """The certificates stay as they were, unless the `kind` is "storage": then after a reset."""

    kind: FailureKind
    reason: str
