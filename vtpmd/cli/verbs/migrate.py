"""vtpmctl migrate: say that a TPM is about to move to another host, or that it has."""

from pathlib import Path

import click

from vtpmd.api.errors import ClientError
from vtpmd.api.schema import MigrateRequest

from .. import files
from ..output import client, hand_over_line, json_option, name_argument, say, show_json


@click.command
@name_argument
@click.option("--done", is_flag=True, help="It has moved: this host does not go on with it.")
@click.option("--cancel", is_flag=True, help="It does not move after all.")
@click.option(
    "--ticket",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write to a new FILE what the target has to know (- is standard output).",
)
@json_option
def command(name: str, done: bool, cancel: bool, ticket: Path | None, as_json: bool) -> None:
    """Declare a migration before it begins: when QEMU has read the TPM's state, it is away.

    Without that the state is lent: this host may go on with it, as after a snapshot. What was
    declared is forgotten after an hour, or when the machine is reset or goes on.

    A ticket is for `vtpmctl migrate-check` and `vtpmctl create --incoming` on a target that has the
    same key provider. It holds the TPM's name, who may connect, certificates and the ledger's
    entries, encrypted, and nothing of its state.
    """
    if done + cancel + (ticket is not None) > 1:
        raise click.UsageError("Give one of --done, --cancel and --ticket.")
    if ticket is not None:
        files.check_absent(ticket)
        files.write(ticket, client().ticket(name))
    step = "done" if done else "cancel" if cancel else "declare"
    try:
        info = client().migrate(name, MigrateRequest(step=step))
    except ClientError:
        if ticket is not None:
            files.remove(ticket)
        raise
    if ticket is not None and files.is_standard(ticket):
        return
    if as_json:
        show_json(info.document)
    else:
        say(hand_over_line(info))
