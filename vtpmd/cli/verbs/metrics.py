"""vtpmctl metrics: what Prometheus scrapes."""

import click

from ..output import client, json_option, say, show_json


@click.command
@json_option
def command(as_json: bool) -> None:
    """Print the daemon's metrics in Prometheus' text format, as for a textfile collector.

    With --json that text is in the member "metrics".
    """
    text = client().metrics().decode(errors="replace")
    if as_json:
        show_json({"metrics": text})
        return
    for line in text.splitlines():
        say(line)
