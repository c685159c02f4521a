"""vtpmctl export: what makes instances alike, without any secret."""

import json
from pathlib import Path

import click

from vtpmd.api import names

from .. import files
from ..output import call, json_option, name_argument, show_saved

FORMAT = 1
FIELDS = ("profile", "pcr_banks", "data_socket")


@click.command("export")
@name_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--without-secrets", is_flag=True, help="Needed: with secrets it is `backup`.")
@json_option
def command(name: str, file: Path, without_secrets: bool, as_json: bool) -> None:
    """Write a template of an instance to a new FILE (- is standard output): no secret is in it.

    `vtpmctl import` makes instances of it, each with secrets of its own.
    """
    if not without_secrets:
        raise click.UsageError("Only --without-secrets is possible; use `vtpmctl backup` for all.")
    files.check_absent(file)
    info = call(names.INFO, name)
    wishes = {"profile": info["profile"], "pcr_banks": info["pcr_banks"]}
    wishes["data_socket"] = info["data_socket"] is not None
    template = {"vtpmd-template": FORMAT, **wishes}
    files.write(file, json.dumps(template, indent=2).encode() + b"\n")
    show_saved(file, {}, f"The template of {name} is in {file}; it holds no secret.", as_json)
