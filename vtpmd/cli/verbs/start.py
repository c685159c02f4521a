"""vtpmctl start: serve an instance."""

import click

from ..output import client, json_option, name_argument, show_state


@click.command
@name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Serve an instance, or try again at once when it is locked.

    It is served again after a restart of the daemon, until it is stopped.
    """
    show_state(client().start(name), as_json)
