"""vtpmctl accept-rollback: let a TPM go on with an older state than the newest known."""

import click

from vtpmd.api import names, problems
from vtpmd.api.errors import ClientError

from ..output import client, json_option, name_argument, say, show_json, state_line

WARNING = (
    "What the machine of {name} has stored in its TPM since the state that is there now is lost to "
    "it: counters go back, and keys sealed meanwhile don't open. `vtpmctl info {name}` shows what "
    "was found. If nobody has restored that state on purpose, find out who did."
)


@click.command
@name_argument
@click.option("--yes", is_flag=True, help="The state that is stored now is the one to go on with.")
@json_option
def command(name: str, yes: bool, as_json: bool) -> None:
    """Let an instance go on with what is stored, though a newer state was seen before.

    It begins a new epoch when it is served the next time: nothing of the line that it leaves is
    taken for newer again.
    """
    if not yes:
        raise ClientError(problems.UNCONFIRMED, WARNING.format(name=name))
    info = client().accept_rollback(name)
    if as_json:
        show_json(info.document)
        return
    if info.state == names.RUNNING:
        say(f"{info.name} goes on with what is stored")
    else:
        say(f"{state_line(info)}; it may be started now")
