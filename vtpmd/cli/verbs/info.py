"""vtpmctl info: one instance."""

import click

from ..output import client, json_option, name_argument, show_instance


@click.command
@name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Show everything about one instance."""
    show_instance(client().info(name), as_json)
