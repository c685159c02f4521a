"""vtpmctl start: serve instances."""

import click

from vtpmd.api.names import AWAY, INCOMING, RUNNING

from ..completion import INSTANCE
from ..output import client, json_option, show_state, state_line
from ..several import each, each_named


@click.command
@click.argument("names", metavar="NAME|UUID…", type=INSTANCE, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every instance that is not served.")
@json_option
def command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Serve instances, or try again at once where one is locked.

    They are served again after a restart of the daemon, until they are stopped. --all leaves alone
    what was handed over to another host.
    """
    if everything is bool(names):
        raise click.UsageError("Give either the name of an instance or --all.")
    if len(names) == 1:
        show_state(client().start(names[0]), as_json)
        return
    json_name = "instances" if as_json else None
    if names:
        each_named(names, client().start, state_line, json_name)
        return
    waiting = [
        info
        for info in client().list().instances
        if info.state not in (RUNNING, INCOMING) and info.handover != AWAY
    ]
    each(waiting, client().start, state_line, json_name)
