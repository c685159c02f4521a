"""vtpmctl create: manufacture a TPM."""

from uuid import UUID

import click

from vtpmd.api.schema import CreateRequest

from ..access import mode_option, owner_option
from ..output import client, json_option, show_instance


@click.command
@click.argument("name")
@click.option("--uuid", type=click.UUID, help="The virtual machine's UUID; a new one otherwise.")
@click.option("--pcr-banks", metavar="BANK,…", help="PCR banks, for example sha256,sha384.")
@click.option(
    "--profile",
    help="What the TPM offers, such as 'fips-v1' or 'default-v1 without SHA1 CC_CLEAR'; "
    "frozen when it is made.",
)
@click.option("--provider", help="The key provider that protects the instance's key.")
@click.option(
    "--data-socket/--no-data-socket",
    default=None,
    help="Also a data socket for tools such as tpm2-tools.",
)
@owner_option
@mode_option
@click.option("--start/--no-start", default=True, help="Serve it at once (the default) or not.")
@json_option
def command(
    name: str,
    uuid: UUID | None,
    pcr_banks: str | None,
    profile: str | None,
    provider: str | None,
    data_socket: bool | None,
    owner: str | None,
    mode: str | None,
    start: bool,
    as_json: bool,
) -> None:
    """Make a new TPM with its own keys, and serve it so that QEMU can connect.

    NAME is like a systemd unit name. An existing instance of this name or UUID is not changed.
    """
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
