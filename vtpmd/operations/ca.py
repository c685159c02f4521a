"""CA: the own authority, its certificates, and what it gave out."""

import base64
import contextlib

from cryptography.hazmat.primitives.serialization import Encoding

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import (
    CaCertificate,
    CaCertificates,
    CaImportRequest,
    CaInfo,
    CaRekeyRequest,
    CaRekeyResult,
    CaRequest,
    CaRevocation,
    CaRevocationLists,
    CaRevokeRequest,
)
from vtpmd.pki.certificates import pem
from vtpmd.pki.entries import REASONS, Given
from vtpmd.pki.ledger import Ledger
from vtpmd.pki.store import Public
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.metadata import as_uuid
from vtpmd.supervisor.refusals import refusals

from .describe import key_slots

NONE = (
    "There is no authority yet: it is made when it first signs something, which is the certificate "
    "of the first TPM, `vtpmctl ca csr` or `vtpmctl ca crl`."
)


async def show(fleet: Fleet) -> CaInfo:
    """The own authority, if there is one. Raises OperationError."""
    with refusals():
        found = await fleet.host.identities.authority.existing()
    if found is None:
        raise OperationError(problems.NO_AUTHORITY, NONE)
    return _info(found)


async def list_(fleet: Fleet) -> CaCertificates:
    """What was given out. Raises OperationError."""
    with refusals():
        ledger = await fleet.host.identities.ledger()
    return CaCertificates(certificates=tuple(_certificate(ledger, x) for x in ledger.given()))


async def revocation_lists(fleet: Fleet) -> CaRevocationLists:
    """What is revoked now, signed. Raises OperationError."""
    with refusals():
        ledger = await fleet.host.identities.ledger()
        lists = await fleet.host.identities.authority.revocation_lists(ledger.revoked)
    texts = (each.public_bytes(Encoding.PEM).decode() for each in lists)
    return CaRevocationLists(lists=tuple(texts))


async def revoke(fleet: Fleet, request: CaRevokeRequest) -> CaRevocation:
    """Revoke all certificates of an instance, or one by its serial number.

    Raises OperationError.
    """
    if request.reason not in REASONS:
        raise OperationError(problems.INVALID, f"reason: one of {', '.join(REASONS)}")
    with refusals():
        ledger = await fleet.host.identities.ledger()
        meant = _meant(fleet, ledger, request.subject)
        if not meant:
            raise OperationError(
                problems.NO_CERTIFICATE,
                f"{request.subject} is neither the serial number of a certificate of the own "
                "authority nor an instance that has any.",
            )
        revoked = await fleet.host.identities.revoke(meant, request.reason)
    return CaRevocation(revoked=tuple(each.serial for each in revoked))


async def request(fleet: Fleet) -> CaRequest:
    """A request for an issuing CA below somebody else's. Raises OperationError."""
    with refusals():
        made = await fleet.host.identities.authority.request()
    return CaRequest(request=made.public_bytes(Encoding.PEM).decode())


async def import_(fleet: Fleet, request: CaImportRequest) -> CaInfo:
    """Issue from now on below somebody else's authority. Raises OperationError."""
    try:
        octets = base64.b64decode(request.chain, validate=True)
    except ValueError:
        raise OperationError(problems.INVALID, "chain: not in base64") from None
    with refusals():
        return _info(await fleet.host.identities.authority.adopt(request.file, octets))


async def rekey(fleet: Fleet, request: CaRekeyRequest) -> CaRekeyResult:
    """Seal the authority's keys under a new DEK, of another key provider too.

    Raises OperationError: then they open with the key they had.
    """
    with refusals():
        slots = await fleet.host.identities.authority.rekey(request.provider)
    if slots is None:
        raise OperationError(problems.NO_AUTHORITY, NONE)
    return CaRekeyResult(keys=key_slots(slots))


def _info(public: Public) -> CaInfo:
    current = public.current
    return CaInfo(
        issuing=pem(current[:1]).decode(),
        root=pem(current[-1:]).decode(),
        chain=pem(current).decode(),
        requested=public.requested,
    )


def _meant(fleet: Fleet, ledger: Ledger, subject: str) -> list[Given]:
    """The certificates of the own authority that a text stands for."""
    found: list[Given] = []
    with contextlib.suppress(OperationError):
        found = ledger.given(fleet.find(subject).metadata.identity)
    if not found and (uuid := as_uuid(subject)) is not None:
        found = ledger.given(uuid)  # of an instance that was deleted
    if not found:
        serial = subject.lower().removeprefix("0x").replace(":", "").lstrip("0")
        found = [each for each in ledger.given() if each.serial == serial]
    return [each for each in found if each.source == "own"]


def _certificate(ledger: Ledger, given: Given) -> CaCertificate:
    revocation = ledger.revocation(given)
    return CaCertificate(
        serial=given.serial,
        identity=given.identity,
        kind=given.kind,
        key=given.key.hex(),
        source=given.source,
        issuer=given.issuer,
        issued=given.time,
        not_after=given.not_after,
        revoked="" if revocation is None else revocation.reason,
        revoked_at=None if revocation is None else revocation.time,
        refused=ledger.was_refused(given),
    )
