"""vtpmctl restore: an instance from its backup."""

from pathlib import Path

import click

from vtpmd.api import names
from vtpmd.api.schema import RestoreRequest

from .. import files
from ..access import mode_option, owner_option
from ..output import client, json_option, say, show_json


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Use another name than in the backup.")
@click.option("--replace", is_flag=True, help="Replace the instance that exists.")
@click.option("--yes", is_flag=True, help="What is stored here now may be lost.")
@owner_option
@mode_option
@click.option("--start/--no-start", default=False, help="Serve it at once, or not (the default).")
@json_option
def command(
    file: Path,
    name: str | None,
    replace: bool,
    yes: bool,
    owner: str | None,
    mode: str | None,
    start: bool,
    as_json: bool,
) -> None:
    """Restore an instance from the FILE that `vtpmctl backup` made (- is standard input).

    The instance keeps its UUID. If its key is not available on this host, it is restored but
    locked. An existing instance is replaced only with --replace and --yes, and must not be running
    then: what its machine has stored in its TPM since the backup is lost to it. Without --yes
    nothing is done, and what would be is told. It goes on in a new epoch, under the key it has.
    Who may connect is not in a backup: it is as configured, or as it is for the replaced instance.
    """
    bundle = files.read(file, names.MAX_BUNDLE)
    request = RestoreRequest(
        name=name, replace=replace, owner=owner, mode=mode, start=start, confirmed=yes
    )
    info = client().restore(bundle, request)
    if as_json:
        show_json(info.document)
    else:
        say(f"{info.name} is restored; it is {info.state}: {info.reason}")
