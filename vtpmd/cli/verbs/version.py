"""vtpmctl version: of vtpmctl, and of the daemon when it answers."""

import click

from vtpmd import __version__
from vtpmd.api.errors import ClientError

from ..output import client, json_option, say, show_json


@click.command
@json_option
def command(as_json: bool) -> None:
    """Show the version of vtpmctl and of the running daemon."""
    try:
        daemon = client().capabilities().version
    except ClientError:
        daemon = None
    if as_json:
        show_json({"vtpmctl": __version__, "vtpmd": daemon})
    else:
        say(f"vtpmctl {__version__}")
        say(f"vtpmd {daemon}" if daemon else "vtpmd does not answer")
