"""What the admin interface asks and answers about TPMs that move to another host."""

from uuid import UUID

from .base import Report, Request


class IncomingRequest(Request):
    """An instance whose TPM comes from another host; what a ticket says and this doesn't holds.

    Without a ticket a name and the UUID of the TPM are needed.
    """

    name: str | None = None
    uuid: UUID | None = None
    data_socket: bool | None = None
    owner: str | None = None
    mode: str | None = None
    start: bool = True


class MigrateRequest(Request):
    """`step`: "declare" a migration, which is to come; "cancel" that; or one is "done"."""

    step: str = "declare"


class MigrateCheckRequest(Request):
    """Under which `name` the TPM of a ticket is to come; that in the ticket if there is none."""

    name: str | None = None


class MigrateCheck(Report):
    """A TPM can come here. `provider`: whose key opens it; `source`: the other vtpmd's version.

    `present`: what is here for it already: "nothing", an instance that is "incoming", or "state"
    of an earlier stay.
    """

    name: str
    uuid: UUID
    provider: str
    source: str
    present: str
