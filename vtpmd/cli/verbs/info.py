"""vtpmctl info: one instance."""

import click

from ..output import client, json_option, names_argument, show_instance


@click.command
@names_argument
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Show everything about instances."""
    for name in names:
        show_instance(client().info(name), as_json)
