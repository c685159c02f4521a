"""vtpmctl clone: an instance like another one."""

from uuid import UUID

import click

from vtpmd.api.schema import CloneRequest

from ..access import mode_option, owner_option
from ..completion import INSTANCE, PROVIDER
from ..output import client, json_option, show_instance


@click.command
@click.argument("original", metavar="NAME|UUID", type=INSTANCE)
@click.argument("name", metavar="NEW-NAME")
@click.option(
    "--policy",
    type=click.Choice(["copy", "replace"]),
    help="Copy the secrets, or replace them by new ones; the default is configured.",
)
@click.option("--uuid", type=click.UUID, help="The virtual machine's UUID; a new one otherwise.")
@click.option("--provider", type=PROVIDER, help="The key provider, if not that of the original.")
@click.option(
    "--data-socket/--no-data-socket",
    default=None,
    help="Also a data socket for tools such as tpm2-tools.",
)
@owner_option
@mode_option
@click.option("--start/--no-start", default=True, help="Serve it at once (the default) or not.")
@click.option("--yes", is_flag=True, help="Replace secrets although the original's are in use.")
@json_option
def command(
    original: str,
    name: str,
    policy: str | None,
    uuid: UUID | None,
    provider: str | None,
    data_socket: bool | None,
    owner: str | None,
    mode: str | None,
    start: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a new instance from another one, which is not changed and may be running.

    With --policy copy the new TPM shares secrets and identity with the original: it opens whatever
    the original opens. With --policy replace it is a new, empty TPM of the same kind.
    """
    request = CloneRequest(
        name=name,
        policy=policy,
        uuid=uuid,
        provider=provider,
        data_socket=data_socket,
        owner=owner,
        mode=mode,
        start=start,
        confirmed=yes,
    )
    show_instance(client().clone(original, request), as_json)
