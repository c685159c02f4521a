"""vtpmctl start: serve instances."""

import click

from vtpmd.api import names

from ..output import client, json_option, show_state, state_line
from ..several import each


@click.command
@click.argument("name", metavar="NAME|UUID", required=False)
@click.option("--all", "everything", is_flag=True, help="Every instance that is not served.")
@json_option
def command(name: str | None, everything: bool, as_json: bool) -> None:
    """Serve an instance, or try again at once when it is locked.

    It is served again after a restart of the daemon, until it is stopped. --all leaves alone what
    was handed over to another host.
    """
    if (name is None) is not everything:
        raise click.UsageError("Give either the name of an instance or --all.")
    if name is not None:
        show_state(client().start(name), as_json)
        return
    served = (names.RUNNING, names.INCOMING)
    waiting = [
        info
        for info in client().list().instances
        if info.state not in served and info.handover != names.AWAY
    ]
    each(waiting, client().start, state_line, "instances" if as_json else None)
