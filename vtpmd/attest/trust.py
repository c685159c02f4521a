"""Whether the key that has signed is an attestation key of a TPM.

A TPM signs what begins with TPM_GENERATED_VALUE only by itself, but only *restricted* keys are
bound to that: with any other key its owner signs a quote made by hand (Part 1, 31.2). So a key is
believed only if a TPM has proven it, a CA vouches for it, or its Name, which covers the attribute,
is known.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from .errors import CertificateError, MalformedError
from .keys import Key, is_certificate, lacks, parse_key
from .records import Proof
from .verdict import Check, Status, failed, passed

_CHECK = "ak"


@dataclass(frozen=True)
class AttestationKey:
    """The key that a quote is to be verified with, and why it is to be believed."""

    key: Key
    known_name: bytes | None = None
    """The Name that a TPM has proven, or that the verifier knows."""
    source: str = ""
    """Where that Name is from."""
    chain: bytes | None = None
    """A certificate of the key, with its issuers."""
    roots: bytes | None = None

    @classmethod
    def read(cls, octets: bytes, roots: bytes | None = None) -> Self:
        """From a proof, a public area, PEM, or a certificate. Raises MalformedError."""
        if octets.lstrip().startswith(b"{"):
            proof = Proof.decode(octets)
            return cls(proof.key(), bytes.fromhex(proof.ak_name), f"proven on {proof.proven}")
        if is_certificate(octets):
            from .certificates import parse_certificates, subject_key

            return cls(Key(subject_key(parse_certificates(octets)[0])), chain=octets, roots=roots)
        return cls(parse_key(octets))

    def named(self, name: bytes) -> Self:
        """The same, if its Name is this one, which the verifier knows from elsewhere."""
        return replace(self, known_name=name, source="given")


def judge(ak: AttestationKey, now: datetime | None = None) -> Check:
    """Whether the key is believed, and why."""
    not_proven = Status.AK_NOT_PROVEN
    if ak.key.public is not None and (missing := lacks(ak.key.public)):
        return failed(_CHECK, not_proven, f"no attestation key: it lacks {', '.join(missing)}")
    if ak.known_name is not None:
        if ak.key.name is None:
            return failed(_CHECK, not_proven, "the Name of a bare key can't be computed")
        if ak.key.name != ak.known_name:
            return failed(_CHECK, not_proven, f"its Name is {ak.key.name.hex()}")
        return passed(_CHECK, f"its Name {ak.key.name.hex()} is {ak.source}")
    if ak.chain is None:
        return failed(
            _CHECK,
            not_proven,
            "nothing says that a TPM has this key and keeps it from signing what others make",
        )
    if ak.roots is None:
        return failed(_CHECK, not_proven, "no root is given that its certificate could lead to")
    return _certified(ak.chain, ak.roots, now)


def _certified(chain: bytes, roots: bytes, now: datetime | None) -> Check:
    from .certificates import AK_PURPOSE, certified_key, parse_certificates

    try:
        certified_key(parse_certificates(chain), parse_certificates(roots), AK_PURPOSE, now)
    except CertificateError as error:
        return failed(_CHECK, Status.CERTIFICATE, str(error))
    except MalformedError as error:  # the chain was read before
        return failed(_CHECK, Status.MALFORMED, f"the roots: {error}")
    return passed(_CHECK, "a CA that is trusted says that it is an attestation key")
