"""vtpmctl metrics: what Prometheus scrapes."""

import click

from ..output import client, say


@click.command
def command() -> None:
    """Print the daemon's metrics in Prometheus' text format, as for a textfile collector."""
    for line in client().metrics().decode(errors="replace").splitlines():
        say(line)
