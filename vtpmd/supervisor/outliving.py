"""The worker of an instance that outlived the daemon, as the next daemon finds it."""

from .adoption import adopt
from .arrival import awaiting
from .endpoints import Endpoints
from .errors import WorkerEndedError
from .events import OnEvent
from .host import Host
from .instance_log import log_of
from .metadata import Metadata
from .old_keys import OldKeys
from .reasons import POWERED_OFF
from .worker import Worker


async def outliving(
    host: Host, metadata: Metadata, endpoints: Endpoints, on_event: OnEvent
) -> tuple[Worker | None, str | None]:
    """That worker, or how the TPM lost its power; neither if nobody served it."""
    if not endpoints.adoption.exists():
        return None, None
    try:
        worker = await adopt(endpoints.adoption, on_event)
    except WorkerEndedError as error:
        log_of(metadata).warning("worker-gone", reason=str(error))
        return None, f"its worker ended while no daemon was there; {POWERED_OFF}"
    worker.fresh = False
    worker.incoming = await awaiting(host.registry, metadata)
    worker.on_unwrap = OldKeys(host, metadata).answer
    log_of(metadata).info("adopted", pid=worker.pid)
    return worker, None
