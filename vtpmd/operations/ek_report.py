"""What is told of the endorsement keys of an instance and their certificates."""

import hashlib
from datetime import UTC, datetime

from vtpmd.api.schema import EkInfo, EkKey
from vtpmd.pki.certificates import der, key_pem, pem
from vtpmd.pki.entries import Given, Known
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.refusals import refusals

from .endorsement import Standing, certified


async def report(fleet: Fleet, instance: Instance) -> EkInfo:
    """The EKs of an instance, as far as they are known. Raises OperationError."""
    metadata = instance.metadata
    with refusals():
        found = await certified(fleet.host, instance)
    known = found.known
    return EkInfo(
        name=metadata.name,
        uuid=metadata.uuid,
        identity=metadata.identity,
        certificates=found.standing,
        known="" if known is None else known.how,
        keys=() if known is None else _keys(found, known),
        chain=pem(found.certificates.chain).decode(),
    )


def _keys(found: Standing, known: Known) -> tuple[EkKey, ...]:
    given = {each.digest: each for each in found.ledger.given(known.identity)}
    return tuple(_key(found, known, kind, given) for kind in known.keys)


def _key(found: Standing, known: Known, kind: str, given: dict[bytes, Given]) -> EkKey:
    public, name = key_pem(known.keys[kind]), known.names.get(kind, b"").hex()
    leaf = found.certificates.leaves.get(kind)
    if leaf is None:
        return EkKey(kind=kind, public_key=public, name=name, state="none")
    entry = given.get(hashlib.sha256(der(leaf)).digest())
    faults = {
        "revoked": entry is not None and found.ledger.revocation(entry) is not None,
        "expired": leaf.not_valid_after_utc < datetime.now(UTC),
        "stale": found.differs,
    }
    return EkKey(
        kind=kind,
        public_key=public,
        name=name,
        state=next((fault for fault, there in faults.items() if there), "valid"),
        certificate=pem([leaf]).decode(),
        serial=f"{leaf.serial_number:x}",
        issuer=leaf.issuer.rfc4514_string(),
        source="" if entry is None else entry.source,
        not_after=leaf.not_valid_after_utc,
    )
