"""EK import: certificates of a foreign authority."""

import base64

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import EkImportRequest, EkInfo
from vtpmd.pki.chains import check_length
from vtpmd.supervisor.certificates import settle
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.launch import demand_newest
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .ek_report import report
from .endorsement import give, recognized

log = get_logger("ek")


async def ek_import(fleet: Fleet, name: str, request: EkImportRequest) -> EkInfo:
    """Give an instance certificates that somebody brings; it may be running.

    Raises OperationError: then the TPM has what it had. The ledger has an entry before the TPM is
    given anything, and another if the TPM itself refuses.
    """
    instance, host = fleet.find(name), fleet.host
    files, roots = decoded(request.files), decoded(request.roots or {})
    async with instance.at_rest(Act.CERTIFY) as worker:
        with refusals():
            if worker is None:
                await demand_newest(host, instance.metadata)
            known, installed = await recognized(host, instance, worker, trust_now=False)
            accepted = await host.identities.accept(known, files, roots)
            uuid = instance.metadata.uuid
            current = await trio.to_thread.run_sync(settle, host.registry, uuid, installed)
            new = current.replaced_by(accepted)
            check_length(new.chain, files)
            await host.identities.give(known, accepted)
            noted = set(accepted.leaf_digests.values()) - set(current.leaf_digests.values())
            await give(host, instance, worker, known, new, noted)
    log.info("certificates-imported", instance=name, kinds=list(accepted.leaves))
    return await report(fleet, instance)


def decoded(files: dict[str, str]) -> dict[str, bytes]:
    """The contents of files that were sent in base64. Raises OperationError."""
    try:
        return {file: base64.b64decode(text, validate=True) for file, text in files.items()}
    except ValueError:
        raise OperationError(problems.INVALID, "files: not in base64") from None
