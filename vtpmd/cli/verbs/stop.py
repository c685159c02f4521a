"""vtpmctl stop: power TPMs off and stop serving them."""

from functools import partial

import click

from vtpmd.api.names import STOPPED
from vtpmd.api.schema import StopRequest

from ..output import client, json_option, some_names_argument, state_line
from ..several import each, one_or_each


@click.command
@some_names_argument
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
    names: tuple[str, ...], everything: bool, temporary: bool, force: bool, as_json: bool
) -> None:
    """Power a TPM off in good order, store its state and close its socket.

    Shut the virtual machine down first: what a machine uses is not stopped without --force, which
    leaves its guest without a TPM until the machine is started anew.
    """
    if everything is bool(names):
        raise click.UsageError("Give names of instances, or --all.")
    ask = partial(client().stop, request=StopRequest(remember=not temporary, force=force))
    json_name = "instances" if as_json else None
    if names:
        one_or_each(names, ask, state_line, json_name)
        return
    served = [info for info in client().list().instances if info.state != STOPPED]
    each(served, ask, state_line, json_name)
