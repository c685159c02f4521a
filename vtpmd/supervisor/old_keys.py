"""Keys of state blobs that were sealed before a rekey, for the worker that was given such a blob.

What a worker asks is not believed: a DEK is unwrapped for the instance that the worker was forked
to serve, whatever slots it offers, and every key provider binds what it wraps to its instance. Each
unwrapping is in the audit log; a worker may ask a few times and then only now and then.
"""

from contextlib import suppress

import trio

from vtpmd.encoding.cbor import CborError
from vtpmd.ipc.channel import ChannelClosedError, IllegalMessageError
from vtpmd.ipc.messages import NotUnwrapped, UnwrapKey, Unwrapped
from vtpmd.ipc.quota import Bucket
from vtpmd.storage.envelope import MAX_SLOTS
from vtpmd.storage.slot import Slot
from vtpmd.storage.wipe import wipe
from vtpmd.telemetry.log import get_logger

from .errors import KeyMissingError
from .host import Host
from .metadata import Metadata
from .worker import Worker

DEADLINE = 8.0
"""Seconds for all slots of a blob; the worker waits a little longer."""
BURST, RATE = 6.0, 0.1

log = get_logger("old-keys")


class OldKeys:
    """Answers the workers of one instance, one request at a time."""

    __slots__ = ("_bucket", "_busy", "_host", "_metadata")

    def __init__(self, host: Host, metadata: Metadata) -> None:
        self._host = host
        self._metadata = metadata
        self._bucket: Bucket | None = None  # made with the first question: most workers have none
        self._busy = False

    def answer(self, worker: Worker, request: UnwrapKey) -> None:
        """Begin to answer."""
        if self._bucket is None:
            self._bucket = Bucket(BURST, RATE)
        admitted = not self._busy and self._bucket.take(trio.current_time())
        self._busy = self._busy or admitted
        self._host.nursery.start_soon(self._answer, worker, request, admitted)

    async def _answer(self, worker: Worker, request: UnwrapKey, admitted: bool) -> None:
        dek, reason = bytearray(), "its worker asks too often"
        bound = log.bind(instance=self._metadata.name, uuid=str(self._metadata.uuid))
        try:
            if admitted:
                dek, reason = await self._unwrap(request)
            if dek:
                bound.info("blob-key-unwrapped", dek_id=request.dek_id.hex())
            else:
                bound.warning("blob-key-refused", dek_id=request.dek_id.hex(), reason=reason)
            answer = Unwrapped(request.dek_id, dek) if dek else NotUnwrapped(request.dek_id)
            await worker.tell(answer)
        except (ChannelClosedError, IllegalMessageError, OSError, trio.ClosedResourceError):
            return  # it has ended meanwhile
        finally:
            wipe(dek)
            if admitted:
                self._busy = False

    async def _unwrap(self, request: UnwrapKey) -> tuple[bytearray, str]:
        """The DEK, or why it can't be had."""
        slots = []
        for octets in request.slots[:MAX_SLOTS]:
            with suppress(CborError):
                slots.append(Slot.decode(octets))
        try:
            with trio.fail_after(DEADLINE):
                uuid = self._metadata.uuid
                return await self._host.keys.unwrap(uuid, request.dek_id, slots), ""
        except KeyMissingError as error:
            return bytearray(), str(error)
        except trio.TooSlowError:
            return bytearray(), f"its key provider took longer than {DEADLINE:g} s"
