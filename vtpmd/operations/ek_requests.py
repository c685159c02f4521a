"""EK csr: requests for certificates, for a foreign authority."""

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import EkRequests, EkRequestsRequest
from vtpmd.pki.certificates import request_pem
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.refusals import refusals
from vtpmd.supervisor.states import Act

from .endorsement import OTHERS, agrees, identify, recognized


async def ek_requests(fleet: Fleet, name: str, request: EkRequestsRequest) -> EkRequests:
    """Requests for the EKs of an instance, which may be running. Raises OperationError."""
    instance, host = fleet.find(name), fleet.host
    kinds = request.kinds or host.configuration.identity.keys
    async with instance.at_rest(Act.IDENTIFY) as worker:
        with refusals():
            known, _ = await recognized(host, instance, worker, request.trust_now)
            subject = host.identities.subject(instance.metadata.identity)
            told = await identify(host, instance, kinds, subject, known)
            if told.seed != known.seed or not agrees(told, known):
                raise OperationError(problems.CERTIFICATES_REFUSED, OTHERS.format(name=name))
            made = {
                kind: request_pem(octets, known.keys[kind])
                for kind, octets in told.requests.items()
                if kind in known.keys
            }
    if missing := [kind for kind in request.kinds or () if kind not in made]:
        raise OperationError(problems.INVALID, f"{name} has no {missing[0]} key that is known.")
    return EkRequests(requests=made)
