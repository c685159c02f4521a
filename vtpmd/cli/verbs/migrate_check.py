"""vtpmctl migrate-check: whether a TPM can come here."""

from pathlib import Path

import click

from vtpmd.api import names
from vtpmd.api.schema import MigrateCheckRequest

from .. import files
from ..output import client, json_option, say, show_json

PRESENT = {
    "nothing": "`vtpmctl create --incoming --ticket` makes a place for it",
    "incoming": "it is waited for",
    "state": "state of an earlier stay is here, which it takes the place of",
}


@click.command
@click.argument("name", required=False)
@click.option(
    "--ticket",
    type=click.Path(path_type=Path),
    metavar="FILE",
    required=True,
    help="What `vtpmctl migrate --ticket` wrote on the source (- is standard input).",
)
@json_option
def command(name: str | None, ticket: Path, as_json: bool) -> None:
    """Say on a migration's target, before the source stops, whether the TPM can come here.

    Looks whether the key opens, this vtpmd knows such TPMs, there is space, and NAME (that of the
    source if none is given) and UUID are free or the right one's. Changes nothing.
    """
    request = MigrateCheckRequest(name=name)
    found = client().migrate_check(files.read(ticket, names.MAX_TICKET), request)
    if as_json:
        show_json(found.document)
        return
    present = PRESENT.get(found.present, found.present)
    say(f"{found.name} ({found.uuid}) can come here: key provider {found.provider} opens it.")
    say(f"Its source is vtpmd {found.source}; here, {present}.")
