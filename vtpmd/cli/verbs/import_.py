"""vtpmctl import: an instance from a template."""

import json
from pathlib import Path
from uuid import UUID

import click

from vtpmd.api.codec import ReportError, declared, decode
from vtpmd.api.schema import CreateRequest

from .. import files
from ..access import mode_option, owner_option
from ..completion import PROVIDER
from ..output import client, json_option, show_instance
from .export import FORMAT, VERSION, Template

MAX_TEMPLATE = 64 * 1024


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("name")
@click.option("--uuid", type=click.UUID, help="The virtual machine's UUID; a new one otherwise.")
@click.option(
    "--provider", type=PROVIDER, help="The key provider that protects the instance's key."
)
@owner_option
@mode_option
@click.option("--start/--no-start", default=True, help="Serve it at once (the default) or not.")
@json_option
def command(
    file: Path,
    name: str,
    uuid: UUID | None,
    provider: str | None,
    owner: str | None,
    mode: str | None,
    start: bool,
    as_json: bool,
) -> None:
    """Make a new TPM like the template in FILE (- is standard input), with secrets of its own."""
    template = _template(file)
    request = CreateRequest(
        name=name,
        uuid=uuid,
        profile=template.profile,
        pcr_banks=template.pcr_banks,
        provider=provider,
        data_socket=template.data_socket,
        owner=owner,
        mode=mode,
        start=start,
    )
    show_instance(client().create(request), as_json)


def _template(file: Path) -> Template:
    try:
        document = json.loads(files.read(file, MAX_TEMPLATE))
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.pop(VERSION, None) != FORMAT:
        raise files.refused(file, "it is no template that this vtpmctl reads")
    known = [each.name for each in declared(Template)]
    if document.keys() - set(known):
        raise files.refused(file, f"a template has nothing but {', '.join(known)}")
    try:
        return decode(Template, document)
    except ReportError as error:
        raise files.refused(file, str(error)) from None
