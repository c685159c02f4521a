"""EK renew: new certificates by the own authority."""

import trio

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import EkInfo, EkRenewRequest
from vtpmd.supervisor.certificates import settle
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.launch import demand_newest
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act
from vtpmd.telemetry.log import get_logger

from .ek_report import report
from .endorsement import give, recognized

log = get_logger("ek")


async def ek_renew(fleet: Fleet, name: str, request: EkRenewRequest) -> EkInfo:
    """Certify the EKs of an instance anew; it may be running. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    if (ca := host.configuration.identity.ca) != "own":
        raise OperationError(
            problems.UNAVAILABLE,
            f"Certificates are not issued here (identity.ca is {ca}): `vtpmctl ek csr` and "
            "`vtpmctl ek import` are for those of another authority.",
        )
    async with instance.at_rest(Act.CERTIFY) as worker:
        with refusals():
            if worker is None:
                await demand_newest(host, instance.metadata)
            known, installed = await recognized(host, instance, worker, request.trust_now)
            uuid = instance.metadata.uuid
            await trio.to_thread.run_sync(settle, host.registry, uuid, installed)
            certificates = await host.identities.renew(known)
            if not certificates.leaves:
                raise OperationError(
                    problems.INVALID, "The TPM has none of the EKs that identity.keys names."
                )
            noted = certificates.leaf_digests.values()
            await give(host, instance, worker, known, certificates, noted)
    log.info("certificates-renewed", instance=name, kinds=list(certificates.leaves))
    return await report(fleet, instance)
