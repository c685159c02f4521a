"""vtpmctl info: one instance."""

import click

from vtpmd.admin import names
from vtpmd.cli.output import (
    call,
    instance_fields,
    json_option,
    name_argument,
    show_fields,
    show_json,
)


@click.command
@name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Show everything about one instance."""
    info = call(names.INFO, name)
    if as_json:
        show_json(info)
    else:
        show_fields(instance_fields(info))
