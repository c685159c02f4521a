"""vtpmctl backup: save all of one instance."""

from pathlib import Path

import click

from .. import files
from ..output import client, json_option, name_argument, show_saved


@click.command
@name_argument
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def command(name: str, file: Path, as_json: bool) -> None:
    """Save an instance, which may be running, to a new FILE (- is standard output).

    The file holds the TPM's state as it is stored: encrypted, with its wrapped key, and useless
    without the key provider. Back up the key provider, too.
    """
    files.check_absent(file)
    bundle = client().backup(name)
    files.write(file, bundle)
    line = f"{name} is saved in {file} ({len(bundle)} bytes)."
    show_saved(file, {"size": len(bundle)}, line, as_json)
