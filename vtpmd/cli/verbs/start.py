"""vtpmctl start: serve an instance."""

import click

from vtpmd.admin import names
from vtpmd.cli.output import call, json_option, name_argument, show_json


@click.command
@name_argument
@json_option
def command(name: str, as_json: bool) -> None:
    """Serve an instance, or try again at once when it is locked.

    It is served again after a restart of the daemon, until it is stopped.
    """
    info = call(names.START, name)
    if as_json:
        show_json(info)
    else:
        click.echo(f"{info['name']} is {info['state']}: {info['reason']}")
