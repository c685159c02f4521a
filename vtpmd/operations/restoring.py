"""Making an instance from the sealed state in a bundle: a backup's, or a snapshot's."""

from dataclasses import replace

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import InstanceInfo, RestoreRequest
from vtpmd.pki.certificates import Certificates
from vtpmd.pki.errors import PkiError, RefusedError
from vtpmd.storage.envelope import Envelope, parse
from vtpmd.storage.errors import StorageError
from vtpmd.storage.header import stricter
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.access import check_access
from vtpmd.supervisor.certificates import EK, NEXT
from vtpmd.supervisor.claim import claim
from vtpmd.supervisor.errors import KeyMissingError
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.instance_directory import opened_nvram
from vtpmd.supervisor.metadata import Metadata
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.registry import Entry
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .bundle import Bundle
from .examine import examine_file
from .new import introduce, publish
from .turning_back import demand_confirmed, present_header, under_present_key

log = get_logger("restore")


async def restore_bundle(fleet: Fleet, request: RestoreRequest, bundle: Bundle) -> InstanceInfo:
    """Make an instance from a bundle; it is locked if its key is not available.

    Raises OperationError; then nothing has changed, or the instance is restored but not served.
    """
    return await introduce(fleet, await _restore(fleet, request, bundle), request.start)


async def _restore(fleet: Fleet, request: RestoreRequest, bundle: Bundle) -> Instance:
    certificates = _certificates(bundle)
    old = fleet.get(bundle.metadata.uuid)
    metadata = _plan(bundle, request, old)
    check_access(fleet.host.configuration.sockets, metadata)
    if old is not None and not request.replace:
        raise OperationError(
            problems.EXISTS,
            f"The bundle is of instance {metadata.uuid}, which exists here as {old.metadata.name}.",
        )
    if old is not None:
        old.demand(Act.REPLACE)
    if not request.confirmed:
        await demand_confirmed(fleet.host, bundle, old)
    if old is None:
        with fleet.reserved(metadata):
            fault = await _install(fleet.host, metadata, bundle)
            await _note(fleet.host, bundle, certificates)
            return _add(fleet, metadata, fault)
    with fleet.reserved(metadata, replacing=old):
        async with old.retired(Act.REPLACE):
            await _remember(fleet.host, old)
            metadata, fault = await _replace(fleet.host, metadata, bundle)
            await _note(fleet.host, bundle, certificates)
            fleet.drop(metadata.uuid)
        return _add(fleet, metadata, fault)


async def _remember(host: Host, old: Instance) -> None:
    """Note whose a TPM is as long as its own state tells, which is about to be replaced.

    So a restore that is cut short does not undo that the TPM was handed over.
    """
    present = await trio.to_thread.run_sync(present_header, host.registry, old.metadata.uuid)
    if present is not None and old.fault is None:
        handover = stricter(present.handover, old.metadata.remembered(present))
        await old.note_hand_over(handover, present.generation)


def _certificates(bundle: Bundle) -> Certificates:
    """The EK certificates in a bundle. Raises OperationError."""
    found = Certificates()
    for name in (NEXT, EK):
        try:
            if name in bundle.certificates:
                found = Certificates.from_pem(bundle.certificates[name])
        except RefusedError as error:
            detail = f"The bundle is refused: {name} in it: {error}."
            raise OperationError(problems.BUNDLE_REFUSED, detail) from None
    return found


async def _note(host: Host, bundle: Bundle, certificates: Certificates) -> None:
    """Note what the bundle says of its TPM; what can't be noted takes nothing from the TPM."""
    identity = bundle.metadata.identity
    try:
        await host.identities.restore(identity, bundle.ledger, certificates)
    except (PkiError, StorageError) as error:
        log.warning("identity-not-noted", identity=str(identity), reason=str(error))


def _plan(bundle: Bundle, request: RestoreRequest, old: Instance | None) -> Metadata:
    """The restored metadata; an instance that is replaced keeps its name and who may connect.

    Who may connect elsewhere is nothing that a bundle decides here, nor does an older one undo that
    a TPM was handed over.
    """
    kept = old.metadata if old is not None and old.fault is None else None
    said = bundle.metadata
    owner = kept.owner if request.owner is None and kept else request.owner
    mode = kept.mode if request.mode is None and kept else request.mode
    return Metadata(
        name=request.name or (kept or said).name,
        uuid=said.uuid,
        created=said.created,
        provider=_provider(bundle.envelope),
        profile=said.profile,
        pcr_banks=said.pcr_banks,
        identity=said.identity,
        data_socket=said.data_socket,
        autostart=False,
        owner=owner or None,
        mode=mode or None,
        handover=kept.handover if kept else "ours",
        handover_generation=kept.handover_generation if kept else 0,
        incoming=False,
        labels=kept.labels if kept else (),
        made_for=kept.made_for if kept else "",
    )


def _provider(envelope: Envelope) -> str:
    primary = [slot.provider for slot in envelope.slots if slot.purpose == "primary"]
    return primary[0] if primary else envelope.slots[0].provider


def _add(fleet: Fleet, metadata: Metadata, fault: str | None) -> Instance:
    instance = fleet.add(Entry(metadata))
    if fault is not None:
        instance.lock(fault)
    log.info("restored", instance=metadata.name, uuid=str(metadata.uuid), locked=fault)
    return instance


async def _install(host: Host, metadata: Metadata, bundle: Bundle) -> str | None:
    """Publish a new directory; returns why its key is missing, None if the state opens."""
    fault: str | None = None

    async def fill(directory: int) -> None:
        nonlocal fault
        await trio.to_thread.run_sync(host.registry.fill, directory, bundle.contents)
        fault = await _try(host, metadata, bundle, directory)
        mark = bundle.envelope.header.mark
        await trio.to_thread.run_sync(host.anchors.accept, metadata.uuid, mark)

    with refusals():
        await publish(host, metadata, fill)
    return fault


async def _replace(host: Host, metadata: Metadata, bundle: Bundle) -> tuple[Metadata, str | None]:
    """Replace what is stored by a bundle, after a trial in another directory; as `_install`.

    The instance keeps the key it has, if both can be had: an older state does not undo a rekey.
    """
    registry, uuid = host.registry, metadata.uuid
    with refusals():
        with registry.beside(metadata) as directory:
            await trio.to_thread.run_sync(registry.fill, directory, bundle.contents)
            fault = await _try(host, metadata, bundle, directory)
            nvram = await under_present_key(host, metadata, bundle.envelope, directory)
        kept = parse(nvram or bundle.nvram)
        metadata = metadata.turned_back(
            _provider(kept), await trio.to_thread.run_sync(present_header, registry, uuid)
        )
        contents = replace(bundle.contents, nvram=nvram or bundle.nvram)
        async with claim(registry, uuid):
            anchors = host.anchors
            await trio.to_thread.run_sync(anchors.note, uuid)
            await trio.to_thread.run_sync(anchors.accept, uuid, kept.header.mark)
            lost = await trio.to_thread.run_sync(registry.overwrite, metadata, contents)
    found = kept.header.generation
    log.warning("state-replaced", uuid=str(uuid), generation=found, replaced_generation=lost)
    return metadata, fault


async def _try(host: Host, metadata: Metadata, bundle: Bundle, directory: int) -> str | None:
    """Open the state in `directory` if its key is available; otherwise the reason."""
    try:
        dek = await host.keys.unlock(bundle.envelope, metadata.uuid)
    except KeyMissingError as error:
        return str(error)
    try:
        with opened_nvram(directory) as nvram:
            await examine_file(host, metadata, dek, nvram)
    finally:
        wipe(dek)
    return None
