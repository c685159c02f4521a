"""vtpmctl start: serve an instance."""

import click

from ..output import client, json_option, names_argument, show_state, state_line
from ..several import each_named


@click.command
@names_argument
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Serve instances, or try again at once where one is locked.

    They are served again after a restart of the daemon, until they are stopped.
    """
    if len(names) == 1:
        show_state(client().start(names[0]), as_json)
    else:
        each_named(names, client().start, state_line, "instances" if as_json else None)
