"""vtpmctl stop: power TPMs off and stop serving them."""

from functools import partial

import click

from vtpmd.api import names
from vtpmd.api.schema import StopRequest

from ..completion import INSTANCE
from ..output import client, json_option, show_state, state_line
from ..several import each


@click.command
@click.argument("name", metavar="NAME|UUID", type=INSTANCE, required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every instance.")
@click.option(
    "--temporary", is_flag=True, help="Until the daemon starts next, as for host maintenance."
)
@click.option(
    "--force",
    is_flag=True,
    help="Also while a machine uses it; free a QEMU that waits for its TPM, and kill a worker that "
    "does not react.",
)
@json_option
def command(
    name: str | None, everything: bool, temporary: bool, force: bool, as_json: bool
) -> None:
    """Power a TPM off in good order, store its state and close its socket.

    Shut the virtual machine down first: what a machine uses is not stopped without --force, which
    leaves its guest without a TPM until the machine is started anew.
    """
    if (name is None) is not everything:
        raise click.UsageError("Give either the name of an instance or --all.")
    ask = partial(client().stop, request=StopRequest(remember=not temporary, force=force))
    if name is not None:
        show_state(ask(name), as_json)
        return
    served = [info for info in client().list().instances if info.state != names.STOPPED]
    each(served, ask, state_line, "instances" if as_json else None)
