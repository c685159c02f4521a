"""Credential activation: how a TPM proves that a certified EK and an AK are both in it.

The verifier makes a challenge, the machine answers it with TPM2_ActivateCredential, and what comes
of a right answer is the proof that the AK's Name belongs to that TPM (Part 1, clause 21).
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

from .certificates import EK_PURPOSE, certified_key, fingerprint, parse_certificates
from .challenge import SECRET_SIZE, make_credential
from .errors import CertificateError, NotProvenError
from .keys import HashlessKey, lacks, parse_public
from .records import Challenge, Proof


def new_challenge(
    ek_certificate: bytes,
    roots: bytes,
    ak_public: bytes,
    *,
    now: datetime | None = None,
    entropy: Callable[[int], bytes] = os.urandom,
) -> tuple[Challenge, bytes]:
    """(what the verifier keeps, the credential for tpm2_activatecredential).

    The EK's certificate may be followed by its issuers; `ak_public` is a TPM2B_PUBLIC or
    TPMT_PUBLIC. Raises MalformedError, CertificateError, and NotProvenError for a key that is no
    attestation key.
    """
    chain = parse_certificates(ek_certificate)
    ek = certified_key(chain, parse_certificates(roots), EK_PURPOSE, now)
    if isinstance(ek, HashlessKey):
        raise CertificateError("the certificate is of a key that only signs, so of no EK")
    ak = parse_public(ak_public)
    assert ak.public is not None
    assert ak.name is not None
    if missing := lacks(ak.public):
        raise NotProvenError(f"no attestation key: it lacks {', '.join(missing)}")
    secret = entropy(SECRET_SIZE)
    challenge = Challenge(
        ak_name=ak.name.hex(),
        ak_public=ak.public.marshal().hex(),
        ek_certificate=fingerprint(chain[0]),
        secret_sha256=sha256(secret).hexdigest(),
    )
    return challenge, make_credential(ek, ak.name, secret, entropy)


def prove(challenge: Challenge, answer: bytes, now: datetime | None = None) -> Proof:
    """The proof that a right answer makes. Raises NotProvenError for a wrong one."""
    if not challenge.answered_by(answer):
        raise NotProvenError("the answer is wrong: the TPM has another EK, or no such AK")
    return Proof(
        ak_name=challenge.ak_name,
        ak_public=challenge.ak_public,
        ek_certificate=challenge.ek_certificate,
        proven=(now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
