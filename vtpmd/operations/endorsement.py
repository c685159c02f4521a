"""What the verbs about EKs share: whose keys they are, and how a TPM is given certificates."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.ipc.identity import (
    Certified,
    Certify,
    Identified,
    Identify,
    Identity,
    Installed,
    ReadInstalled,
    Recertify,
)
from vtpmd.ipc.messages import Stored
from vtpmd.pki.certificates import Certificates, moduli
from vtpmd.pki.entries import Known
from vtpmd.pki.ledger import Ledger
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.certificates import settle, stage, withdraw
from vtpmd.supervisor.errors import WorkerFailedError
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.launch import carry_out
from vtpmd.supervisor.worker import Worker

from .examine import unlocked
from .stored import opened

UNKNOWN = (
    "The keys of {name} were not noted when its TPM was made, and it may have been used since: "
    "whoever certifies them believes a worker that guests have talked to."
)
OTHERS = (
    "The keys that the worker of {name} tells are not those that were noted for its TPM. Nothing "
    "is signed for them."
)


async def identify(
    host: Host,
    instance: Instance,
    kinds: Collection[str],
    subject: str | None = None,
    known: Known | None = None,
) -> Identity:
    """Who a stored TPM is, which may be served; with a `subject` also with requests.

    What is `known` of it makes it quicker, and is not what is told because of that.
    Raises as `carry_out`.
    """
    metadata, dek = instance.metadata, await unlocked(host, instance)
    try:
        order = Identify(
            uuid=metadata.uuid,
            name=metadata.name,
            dek=dek,
            keys=tuple(sorted(kinds)),
            requests=subject is not None,
            subject=subject or "",
            sandbox=host.configuration.sandbox,
            moduli={} if known is None else moduli(known.keys),
        )
        with host.registry.nvram(metadata.uuid) as nvram:
            return (await carry_out(host, metadata, order, Identified, [nvram])).identity
    finally:
        wipe(dek)


async def recognized(
    host: Host, instance: Instance, worker: Worker | None, trust_now: bool
) -> tuple[Known, Mapping[str, bytes]]:
    """What is known of the TPM of an instance at rest, and the digests of what is in its NV.

    With `trust_now` what is not known is asked for, and believed. Raises OperationError, and as
    `carry_out` and `Identities`.
    """
    identity = instance.metadata.identity
    seed, installed = await _present(host, instance, worker)
    known = (await host.identities.ledger()).find(identity, seed)
    wanted = host.configuration.identity.keys
    if trust_now and (known is None or set(wanted) - known.keys.keys()):
        kinds = {*wanted, *(known.keys if known else ())}
        told = await identify(host, instance, kinds, known=known)
        if told.seed != seed or not agrees(told, known):
            raise OperationError(
                problems.CERTIFICATES_REFUSED, OTHERS.format(name=instance.metadata.name)
            )
        if known is None or told.keys.keys() - known.keys.keys():
            known = await host.identities.trust(identity, told)
    if known is None:
        detail = UNKNOWN.format(name=instance.metadata.name)
        raise OperationError(problems.UNTRUSTED, detail)
    return known, installed


async def _present(
    host: Host, instance: Instance, worker: Worker | None
) -> tuple[bytes, Mapping[str, bytes]]:
    """The seed that the TPM has now, and what is in its NV."""
    if worker is not None:
        present = await worker.ask(ReadInstalled(), Installed)
        return present.seed, present.certificates
    told = await identify(host, instance, ())
    return told.seed, told.installed


def agrees(told: Identity, known: Known | None) -> bool:
    """Whether keys are those that are known, as far as they are."""
    return known is None or all(known.keys.get(kind, key) == key for kind, key in told.keys.items())


async def give(
    host: Host,
    instance: Instance,
    worker: Worker | None,
    known: Known,
    new: Certificates,
    noted: Collection[bytes],
) -> None:
    """Put certificates into the NV of a TPM at rest, and beside it, in the place of all.

    `noted` are the digests of those that are new to it, of which the ledger says that they were
    given; if the TPM refuses, it says so, too. Whenever it is cut short, all the old ones hold or
    all the new ones. Raises as `carry_out`.
    """
    uuid = instance.metadata.uuid
    await trio.to_thread.run_sync(stage, host.registry, uuid, new)
    certificates, chain = new.for_nv
    try:
        if worker is not None:
            await worker.ask(Certify(known.seed, certificates, chain), Certified)
        else:
            await _recertify(host, instance, known.seed, certificates, chain)
    except WorkerFailedError as error:
        if error.kind == "certificates":
            await trio.to_thread.run_sync(withdraw, host.registry, uuid)
            await host.identities.refused(known.identity, noted)
        raise
    await trio.to_thread.run_sync(settle, host.registry, uuid, new.digests)


async def _recertify(
    host: Host,
    instance: Instance,
    seed: bytes,
    certificates: dict[str, bytes],
    chain: tuple[bytes, ...],
) -> None:
    metadata = instance.metadata
    async with opened(host, metadata) as (envelope, key, fds):
        order = Recertify(
            uuid=metadata.uuid,
            name=metadata.name,
            key=key,
            seed=seed,
            certificates=certificates,
            chain=chain,
            sandbox=host.configuration.sandbox,
            handover=metadata.remembered(envelope.header),
        )
        await carry_out(host, metadata, order, Stored, fds)


@dataclass(frozen=True)
class Standing:
    """The certificates of an instance, what is known of its TPM, and whether both agree.

    `standing` is for people: "none", "valid" or "stale: …" with the reason. `differs`: the TPM has
    other keys or holds other certificates.
    """

    certificates: Certificates
    ledger: Ledger
    known: Known | None
    standing: str
    differs: bool


async def certified(host: Host, instance: Instance) -> Standing:
    """How it stands with the certificates of an instance. Raises StorageError and PkiError."""
    metadata = instance.metadata
    with instance.if_idle() as idle:
        installed = await instance.installed()
        digests = installed.certificates if installed is not None and idle else None
        certificates = await trio.to_thread.run_sync(settle, host.registry, metadata.uuid, digests)
    ledger = await host.identities.ledger()
    if installed is None:
        known = next(reversed(ledger.known(metadata.identity)), None)
    else:
        known = ledger.find(metadata.identity, installed.seed)
    noted = known is not None or bool(ledger.known(metadata.identity))
    difference = _difference(certificates, known, installed, noted)
    fault = difference or next(_faults(certificates, ledger, metadata.identity), "")
    standing = f"stale: {fault}" if fault else "valid" if certificates.leaves else "none"
    return Standing(certificates, ledger, known, standing, bool(difference))


def _difference(
    certificates: Certificates, known: Known | None, installed: Installed | None, noted: bool
) -> str:
    """Why the TPM and its certificates do not belong together; empty if they do.

    `noted`: the ledger has any keys of this identity.
    """
    if installed is not None:
        if certificates.leaves and known is None:
            if noted:
                return "the endorsement primary seed of the TPM has changed, and so its keys"
            return "its keys are not in the ledger here; `vtpmctl ek renew --trust-now` notes them"
        if installed.certificates != certificates.digests:
            return "the TPM holds others; `vtpmctl ek renew` puts new ones in"
    return ""


def _faults(certificates: Certificates, ledger: Ledger, identity: UUID) -> Iterator[str]:
    """Why certificates are not to be believed any more."""
    now = datetime.now(UTC)
    for kind, leaf in certificates.leaves.items():
        if leaf.not_valid_after_utc < now:
            yield f"{kind} has expired"
    kinds = {digest: kind for kind, digest in certificates.leaf_digests.items()}
    for given in ledger.given(identity):
        if given.digest in kinds and ledger.revocation(given) is not None:
            yield f"{kinds[given.digest]} is revoked"
