"""vtpmctl upgrade: fresh workers go on with running TPMs."""

import sys

import click

from vtpmd.api.errors import problem_of
from vtpmd.api.schema import Upgraded

from ..output import client, json_option, progress, say, show_json, some_names_argument
from ..several import one_or_each


@click.command
@some_names_argument
@click.option("--all", "everything", is_flag=True, help="Every running instance.")
@json_option
def command(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Let a fresh worker, of the daemon's version, go on with a running TPM.

    The virtual machine keeps running and stays connected; its next TPM command waits for some
    milliseconds. What can't be handed over just now is served on as before. With --all a
    TPM that sleeps is not woken: whoever wakes it is of the daemon's version then.
    """
    if everything is bool(names):
        raise click.UsageError("Give names of instances, or --all.")
    if names:
        one_or_each(names, client().upgrade, _line, "upgraded" if as_json else None)
        return
    results = client().upgrade_all(progress(as_json))
    if as_json:
        show_json(results.document)
    else:
        for each in results.upgraded:
            say(_line(each))
        for failure in results.failed:
            say(f"{failure.name} is served on by its old worker: {failure.detail}", err=True)
        for name in results.asleep:
            say(f"{name} sleeps on, and will be woken by a fresh worker")
        if not (results.upgraded or results.failed or results.asleep):
            say("nothing is running")
    if results.failed:
        sys.exit(problem_of(results.failed[0].code).exit_status)


def _line(result: Upgraded) -> str:
    return f"{result.name} is served by process {result.pid}, after a pause of {result.pause_ms} ms"
