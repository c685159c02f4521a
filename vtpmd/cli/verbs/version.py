"""vtpmctl version: of vtpmctl, and of the daemon when it answers."""

import click

from vtpmd import __version__
from vtpmd.api import names
from vtpmd.api.client import Failure

from ..output import client, json_option, show_json


@click.command
@json_option
def command(as_json: bool) -> None:
    """Show the version of vtpmctl and of the running daemon."""
    try:
        daemon = client().call(names.CAPABILITIES)["version"]
    except Failure:
        daemon = None
    if as_json:
        show_json({"vtpmctl": __version__, "vtpmd": daemon})
    else:
        click.echo(f"vtpmctl {__version__}")
        click.echo(f"vtpmd {daemon}" if daemon else "vtpmd does not answer")
