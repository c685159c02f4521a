"""vtpmctl start: serve instances."""

import click

from vtpmd.api.names import AWAY, INCOMING, RUNNING

from ..output import client, json_option, some_names_argument, state_line
from ..several import each, one_or_each


@click.command
@some_names_argument
@click.option("--all", "everything", is_flag=True, help="Every instance that is not served.")
@json_option
def command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Serve instances, or try again at once where one is locked.

    They are served again after a restart of the daemon, until they are stopped. --all leaves alone
    what was handed over to another host.
    """
    if everything is bool(names):
        raise click.UsageError("Give names of instances, or --all.")
    json_name = "instances" if as_json else None
    if names:
        one_or_each(names, client().start, state_line, json_name)
        return
    waiting = [
        info
        for info in client().list().instances
        if info.state not in (RUNNING, INCOMING) and info.handover != AWAY
    ]
    each(waiting, client().start, state_line, json_name)
