"""vtpmctl migrate: say that a TPM is about to move to another host, or that it has."""

import click

from vtpmd.api.schema import MigrateRequest

from ..output import client, hand_over_line, json_option, name_argument, say, show_json


@click.command
@name_argument
@click.option("--done", is_flag=True, help="It has moved: this host does not go on with it.")
@click.option("--cancel", is_flag=True, help="It does not move after all.")
@json_option
def command(name: str, done: bool, cancel: bool, as_json: bool) -> None:
    """Declare a migration before it begins: when QEMU has read the TPM's state, it is away.

    Without that the state is lent: this host may go on with it, as after a snapshot. What was
    declared is forgotten after an hour, or when the machine is reset or goes on.
    """
    if done and cancel:
        raise click.UsageError("Give --done or --cancel, not both.")
    step = "done" if done else "cancel" if cancel else "declare"
    info = client().migrate(name, MigrateRequest(step=step))
    if as_json:
        show_json(info.document)
    else:
        say(hand_over_line(info))
