"""vtpmctl export: the settings of an instance as a template, without secrets."""

import json
from pathlib import Path

import click

from vtpmd.api.codec import encode_report
from vtpmd.api.schema import Report

from .. import files
from ..output import client, json_option, name_argument, show_saved

VERSION = "vtpmd-template"
FORMAT = 1


class Template(Report):
    """What instances made from a template have in common; without a field it is configured."""

    profile: str | None = None
    pcr_banks: tuple[str, ...] | None = None
    data_socket: bool | None = None


@click.command("export")
@name_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--without-secrets", is_flag=True, help="Needed: with secrets it is `backup`.")
@json_option
def command(name: str, file: Path, without_secrets: bool, as_json: bool) -> None:
    """Write a template of an instance, without secrets, to a new FILE (- is standard output).

    `vtpmctl import` makes instances from it, each with its own secrets.
    """
    if not without_secrets:
        raise click.UsageError("Only --without-secrets is possible; use `vtpmctl backup` for all.")
    files.check_absent(file)
    info = client().info(name)
    template = Template(
        profile=info.profile,
        pcr_banks=info.pcr_banks,
        data_socket=info.data_socket is not None,
    )
    document = {VERSION: FORMAT, **encode_report(template)}
    files.write(file, json.dumps(document, indent=2).encode() + b"\n")
    show_saved(file, {}, f"The template of {name} is in {file}; it holds no secret.", as_json)
