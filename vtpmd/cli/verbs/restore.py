"""vtpmctl restore: an instance from its backup."""

from pathlib import Path

import click

from vtpmd.api import names
from vtpmd.api.schema import RestoreRequest

from .. import files
from ..output import client, json_option, say, show_json


@click.command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Another name than in the backup.")
@click.option("--replace", is_flag=True, help="Put it in the place of the instance that exists.")
@click.option("--start/--no-start", default=False, help="Serve it at once, or not (the default).")
@json_option
def command(file: Path, name: str | None, replace: bool, start: bool, as_json: bool) -> None:
    """Restore an instance from the FILE that `vtpmctl backup` made (- is standard input).

    It gets the UUID it had. If its key is not available here it is there, but locked. An existing
    instance is left alone unless --replace is given; then it must not be running.
    """
    bundle = files.read(file, names.MAX_BUNDLE)
    request = RestoreRequest(name=name, replace=replace, start=start)
    info = client().restore(bundle, request)
    if as_json:
        show_json(info.document)
    else:
        say(f"{info.name} is restored; it is {info.state}: {info.reason}")
