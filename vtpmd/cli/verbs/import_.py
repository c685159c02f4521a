"""vtpmctl import: an instance from a template."""

import json
from pathlib import Path
from typing import Any

import click

from vtpmd.api import names

from .. import files
from ..output import call, json_option, show_instance
from .export import FIELDS, FORMAT

MAX_TEMPLATE = 64 * 1024


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--uuid", metavar="UUID", help="The virtual machine's UUID; a new one otherwise.")
@click.option("--provider", help="The key provider that protects the instance's key.")
@click.option("--start/--no-start", default=True, help="Serve it at once (the default) or not.")
@json_option
def command(
    file: Path, name: str, uuid: str | None, provider: str | None, start: bool, as_json: bool
) -> None:
    """Make a new TPM like the template in FILE (- is standard input), with secrets of its own."""
    wishes = {"name": name, "uuid": uuid, "provider": provider, "start": start}
    content = {key: value for key, value in wishes.items() if value is not None}
    info = call(names.CREATE, content=content | _template(file))
    show_instance(info, as_json)


def _template(file: Path) -> dict[str, Any]:
    try:
        template = json.loads(files.read(file, MAX_TEMPLATE))
    except (ValueError, RecursionError):
        template = None
    if not isinstance(template, dict) or template.pop("vtpmd-template", None) != FORMAT:
        raise files.FileProblem(str(file), "it is no template that this vtpmctl reads")
    if template.keys() != set(FIELDS):
        raise files.FileProblem(str(file), f"a template has exactly {', '.join(FIELDS)}")
    return template
