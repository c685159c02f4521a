"""vtpmctl info: one instance."""

import click

from vtpmd.api import names

from ..output import call, json_option, name_argument, show_instance


@click.command
@name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Show everything about one instance."""
    show_instance(call(names.INFO, name), as_json)
