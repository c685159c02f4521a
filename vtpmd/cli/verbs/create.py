"""vtpmctl create: manufacture a TPM, or wait for one that comes from another host."""

from pathlib import Path
from uuid import UUID

import click

from vtpmd.api import names
from vtpmd.api.schema import CreateRequest, IncomingRequest

from .. import files
from ..access import mode_option, owner_option
from ..completion import PROVIDER
from ..output import client, json_option, show_instance


@click.command
@click.argument("name", required=False)
@click.option("--uuid", type=click.UUID, help="The virtual machine's UUID; a new one otherwise.")
@click.option("--pcr-banks", metavar="BANK,…", help="PCR banks, for example sha256,sha384.")
@click.option(
    "--profile",
    help="What the TPM offers, such as 'fips-v1' or 'default-v1 without SHA1 CC_CLEAR'; "
    "frozen when it is made.",
)
@click.option(
    "--provider", type=PROVIDER, help="The key provider that protects the instance's key."
)
@click.option(
    "--data-socket/--no-data-socket",
    default=None,
    help="Also a data socket for tools such as tpm2-tools.",
)
@click.option(
    "--incoming",
    is_flag=True,
    help="Make no TPM: it comes from another host, with its migrating machine.",
)
@click.option(
    "--ticket",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `vtpmctl migrate --ticket` wrote there (- is standard input).",
)
@owner_option
@mode_option
@click.option("--start/--no-start", default=True, help="Serve it at once (the default) or not.")
@json_option
def command(
    name: str | None,
    uuid: UUID | None,
    pcr_banks: str | None,
    profile: str | None,
    provider: str | None,
    data_socket: bool | None,
    incoming: bool,
    ticket: Path | None,
    owner: str | None,
    mode: str | None,
    start: bool,
    as_json: bool,
) -> None:
    """Make a new TPM with its own keys, and serve it so that QEMU can connect.

    NAME is like a systemd unit name. An existing instance of this name or UUID is not changed.

    With --incoming the TPM of another host is waited for, which has to have the same key provider.
    A ticket says what it is called, who may connect and which certificates it has; without one,
    give NAME and --uuid.
    """
    if incoming:
        _demand_none(pcr_banks=pcr_banks, profile=profile, provider=provider)
        if ticket is None and None in (name, uuid):
            raise click.UsageError("Give NAME and --uuid, or a ticket.")
        announced = b"" if ticket is None else files.read(ticket, names.MAX_TICKET)
        awaited = IncomingRequest(
            name=name, uuid=uuid, data_socket=data_socket, owner=owner, mode=mode, start=start
        )
        show_instance(client().create_incoming(awaited, announced), as_json)
        return
    if ticket is not None:
        raise click.UsageError("A ticket is for --incoming.")
    if name is None:
        raise click.UsageError("Missing argument 'NAME'.")
    request = CreateRequest(
        name=name,
        uuid=uuid,
        pcr_banks=None if pcr_banks is None else tuple(pcr_banks.split(",")),
        profile=profile,
        provider=provider,
        data_socket=data_socket,
        owner=owner,
        mode=mode,
        start=start,
    )
    show_instance(client().create(request), as_json)


def _demand_none(**options: str | None) -> None:
    """Raise UsageError for what only a new TPM can be given."""
    for option, value in options.items():
        if value is not None:
            raise click.UsageError(f"--{option.replace('_', '-')} is nothing for --incoming.")
