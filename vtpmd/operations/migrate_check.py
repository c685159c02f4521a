"""Migrate-check: whether the TPM of a ticket can come here, before its source stops."""

from vtpmd.api import problems
from vtpmd.api.problems import OperationError
from vtpmd.api.schema import MigrateCheck, MigrateCheckRequest
from vtpmd.supervisor.fleet import Fleet
from vtpmd.supervisor.instance import Instance
from vtpmd.supervisor.keys import primary
from vtpmd.supervisor.naming import check_name
from vtpmd.supervisor.states import Act

from .announced import demand_fit, read
from .ticket import Ticket


async def migrate_check(fleet: Fleet, request: MigrateCheckRequest, data: bytes) -> MigrateCheck:
    """Whether this host can open what a ticket announces, and has a place for it.

    Raises OperationError with the first reason why not.
    """
    ticket = await read(fleet.host, data)
    await demand_fit(fleet.host, ticket)
    name, present = _place(fleet, ticket, request.name or ticket.metadata.name)
    return MigrateCheck(
        name=name,
        uuid=ticket.metadata.uuid,
        provider=primary(ticket.slots).provider,
        source=ticket.vtpmd,
        present=present,
    )


def _place(fleet: Fleet, ticket: Ticket, name: str) -> tuple[str, str]:
    """Under which name it comes, and what is here for it. Raises OperationError."""
    uuid = ticket.metadata.uuid
    if (here := fleet.get(uuid)) is not None:
        return here.metadata.name, _judged(here)
    check_name(fleet.host.configuration, name, uuid)
    if any(instance.metadata.name == name for instance in fleet):
        raise OperationError(problems.EXISTS, f"There is an instance {name} of another UUID.")
    return name, "nothing"


def _judged(here: Instance) -> str:
    here.demand(Act.RECEIVE)
    return "incoming" if here.metadata.incoming else "state"
