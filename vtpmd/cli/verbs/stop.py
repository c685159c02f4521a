"""vtpmctl stop: power TPMs off and serve them no more."""

import click

from vtpmd.admin import names
from vtpmd.cli.client import Failure
from vtpmd.cli.output import call, client, fail, json_option, show_json, state_line


@click.command
@click.argument("name", metavar="NAME|UUID", required=False)
@click.option("--all", "everything", is_flag=True, help="Stop every instance.")
@click.option(
    "--temporary", is_flag=True, help="Until the daemon starts next, as for host maintenance."
)
@json_option
def command(name: str | None, everything: bool, temporary: bool, as_json: bool) -> None:
    """Power a TPM off in good order, store its state and close its socket.

    Shut the virtual machine down first: a running one loses its TPM.
    """
    if (name is None) is not everything:
        raise click.UsageError("Give either the name of an instance or --all.")
    if name is not None:
        stopped = [call(names.STOP, name, {"remember": not temporary})]
    else:
        stopped = _stop_all(temporary)
    if as_json:
        show_json(stopped[0] if name is not None else {"instances": stopped})
        return
    for info in stopped:
        click.echo(state_line(info))


def _stop_all(temporary: bool) -> list[dict[str, object]]:
    stopped = []
    failures = []
    for info in call(names.LIST)["instances"]:
        if info["state"] == names.STOPPED:
            continue
        try:
            answer = client().call(names.STOP, info["uuid"], {"remember": not temporary})
            stopped.append(answer)
        except Failure as failure:
            failures.append(failure)
    if failures:
        fail(failures[0])
    return stopped
