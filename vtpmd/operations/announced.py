"""What a ticket announces: whether that is believed here, and whether this host can take it in."""

import trio

from vtpmd import __version__
from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.storage.header import FORMAT_VERSION
from vtpmd.storage.record import ROLES
from vtpmd.storage.state_file import FILE_SIZE
from vtpmd.storage.wipe import wipe
from vtpmd.supervisor.host import Host
from vtpmd.supervisor.models import UnknownModelError, demand_known, unreadable
from vtpmd.supervisor.refusals import refusals

from .ticket import Ticket, TicketError, opened, sealed

ROOM = FILE_SIZE * len(ROLES)
"""The most octets that one instance's state files can grow to."""


async def read(host: Host, data: bytes) -> Ticket:
    """A ticket that a daemon with the same KEK wrote. Raises OperationError."""
    dek = bytearray()
    try:
        envelope = await trio.to_thread.run_sync(sealed, data)
        with refusals():
            dek = await host.keys.unlock(envelope, envelope.header.uuid, ticket=True)
        return await trio.to_thread.run_sync(opened, envelope, dek)
    except TicketError as error:
        raise OperationError(problems.BUNDLE_REFUSED, f"The ticket is refused: {error}.") from None
    finally:
        wipe(dek)


async def demand_fit(host: Host, ticket: Ticket) -> None:
    """Raise OperationError unless this host can open and serve the TPM of a ticket."""
    if ticket.format > FORMAT_VERSION:
        raise _unfit(
            f"its state has format version {ticket.format}, this vtpmd reads {FORMAT_VERSION} and "
            f"older: upgrade it to {ticket.vtpmd} first"
        )
    with refusals():
        wipe(await host.keys.unwrap(ticket.metadata.uuid, ticket.dek_id, ticket.slots))
        models = await host.zygote.models()
        room = await trio.to_thread.run_sync(host.registry.room)
    try:
        demand_known(models, ticket.metadata.profile, ticket.metadata.pcr_banks)
    except UnknownModelError as error:
        raise _unfit(f"this vtpmd has no such TPM: {error}") from None
    if (reason := unreadable(models, ticket.state_version, ticket.state_fields)) is not None:
        raise _unfit(
            f"vtpmd {ticket.vtpmd} writes its state with {reason}; this is vtpmd {__version__}, "
            "upgrade it first"
        )
    if room < ROOM:
        raise _unfit(f"the state directory has space for {room} octets, {ROOM} may be needed")


def _unfit(reason: str) -> OperationError:
    return OperationError(problems.UNAVAILABLE, f"The TPM cannot come here: {reason}.")
