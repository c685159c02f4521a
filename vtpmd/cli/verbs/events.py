"""vtpmctl events: what has happened to TPMs."""

import json

import click

from vtpmd.api.codec import time_text
from vtpmd.api.schema import EventInfo, EventsRequest
from vtpmd.api.watching import MAX_WAIT

from ..completion import INSTANCE
from ..output import client, json_option, say, show_json


@click.command
@click.argument("name", metavar="[NAME|UUID]", type=INSTANCE, required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@json_option
def command(name: str | None, follow: bool, as_json: bool) -> None:
    """Show what has happened to one instance or to all since the daemon started.

    The daemon remembers the newest 2000. With --json and --follow each event is one line.
    """
    daemon, after, wait = client(), 0, 0
    while True:
        found = daemon.events(EventsRequest(after=after, instance=name, wait=wait))
        if name is not None and not found.events and not follow:
            daemon.info(name)  # one that there is not is told
        if as_json and not follow:
            show_json(found.document)
            return
        for event in found.events:
            if as_json:
                click.echo(json.dumps(event.document))
            else:
                say(_line(event))
        if not follow:
            return
        after, wait = found.last, MAX_WAIT


def _line(event: EventInfo) -> str:
    text = f"{event.kind}: {event.detail}" if event.detail else event.kind
    return f"{time_text(event.time)}  {event.severity:<7}  {event.instance}  {text}"
