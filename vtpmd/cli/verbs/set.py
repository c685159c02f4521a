"""vtpmctl set: change settings of an instance."""

import click

from vtpmd.api.schema import SetRequest

from ..access import mode_option, owner_option
from ..output import client, json_option, name_argument, show_instance


@click.command("set")
@name_argument
@owner_option
@mode_option
@json_option
def command(name: str, owner: str | None, mode: str | None, as_json: bool) -> None:
    """Change settings of an instance at once, also while it runs.

    Who is connected stays connected: shut the machine down first to part it from its TPM.
    """
    if (owner, mode) == (None, None):
        raise click.UsageError("Give what to set: --owner or --mode.")
    show_instance(client().set(name, SetRequest(owner=owner, mode=mode)), as_json)
