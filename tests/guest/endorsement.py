"""Who a machine's TPM is, as its host tells it; and whether the guest has read the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.guest.console import Blob

INDICES = {"rsa-2048": "0x01c00002", "ecc-p256": "0x01c0000a", "ecc-p384": "0x01c00016"}
FIRST_OF_CHAIN = 0x01C00100
BY_TOOL = {"rsa": "0x01c00002", "ecc": "0x01c0000a"}
"""What tpm2_getekcertificate reads: the certificates of the low range."""


@dataclass(frozen=True)
class Endorsement:
    """The certificates of a TPM."""

    certificates: Mapping[str, bytes]
    """DER, by NV index: those of its EKs, and those of the authorities above but the root's."""
    authorities: bytes
    """Who has issued them, up to the root: PEM."""

    @classmethod
    def told(cls, report: Mapping[str, Any], authorities: str) -> "Endorsement":
        """From `vtpmctl ek show --json` and `vtpmctl ca show --chain`."""
        texts = {INDICES[key["kind"]]: key["certificate"] for key in report["keys"]}
        found = {index: _read(text)[0] for index, text in texts.items()}
        chain = [each for each in _read(report["chain"]) if each.issuer != each.subject]
        found |= {f"0x{FIRST_OF_CHAIN + at:08x}": each for at, each in enumerate(chain)}
        octets = {index: each.public_bytes(Encoding.DER) for index, each in found.items()}
        return cls(octets, authorities.encode())


def _read(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


def problems(endorsement: Endorsement, blobs: Mapping[str, Blob]) -> list[str]:
    """What is wrong with the certificates that a guest has read from NV."""
    given = endorsement.certificates
    expected = {**given, **{tool: given[index] for tool, index in BY_TOOL.items()}}
    read = {
        name.removeprefix("ekcert-"): blob.data
        for name, blob in blobs.items()
        if name.startswith("ekcert-")
    }
    return [
        f"certificate {name}: the guest has read {len(read.get(name, b''))} octets, not the "
        f"{len(expected.get(name, b''))} that the host has put in"
        for name in sorted(expected.keys() | read.keys())
        if read.get(name) != expected.get(name)
    ]
