"""An instance's worker that outlived the previous daemon."""

from .arrival import awaiting
from .endpoints import Endpoints
from .errors import WorkerEndedError
from .events import OnEvent
from .host import Host
from .instance_log import log_of
from .metadata import Metadata
from .serving import POWERED_OFF
from .succession import meet
from .worker import Worker


async def outliving(
    host: Host, metadata: Metadata, endpoints: Endpoints, on_event: OnEvent
) -> tuple[Worker | None, str | None]:
    """That worker, adopted, or how the TPM lost its power, if it had any."""
    if not endpoints.adoption.exists():
        return None, None
    try:
        worker = await meet(host, metadata, endpoints, on_event)
    except WorkerEndedError as error:
        log_of(metadata).warning("worker-gone", reason=str(error))
        return None, f"its worker ended while no daemon was there; {POWERED_OFF}"
    worker.fresh = False
    worker.incoming = await awaiting(host.registry, metadata)
    return worker, None
