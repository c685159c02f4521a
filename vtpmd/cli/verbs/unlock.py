"""vtpmctl unlock: try again to get the keys of locked instances."""

import sys

import click

from vtpmd.api.errors import problem_of
from vtpmd.api.schema import UnlockRequest

from ..completion import PROVIDER
from ..output import client, json_option, progress, say, show_json, some_names_argument, state_line
from ..several import one_or_each


@click.command
@some_names_argument
@click.option("--all", "everything", is_flag=True, help="Every locked instance.")
@click.option(
    "--provider", type=PROVIDER, help="Every locked instance whose key this key provider holds."
)
@json_option
def command(names: tuple[str, ...], everything: bool, provider: str | None, as_json: bool) -> None:
    """Try at once to get the key of a locked instance, and serve it if it should be served.

    Instances that are not locked are not changed.
    """
    if [bool(names), everything, provider is not None].count(True) != 1:
        raise click.UsageError("Give names of instances, or --all, or --provider.")
    if names:
        one_or_each(names, client().unlock, state_line, "instances" if as_json else None)
        return
    result = client().unlock_all(UnlockRequest(provider=provider), progress(as_json))
    if as_json:
        show_json(result.document)
    else:
        say(f"unlocked: {', '.join(sorted(result.unlocked)) or 'none'}")
        for failure in result.failed:
            say(f"{failure.name} stays locked: {failure.detail}", err=True)
    if result.failed:
        sys.exit(problem_of(result.failed[0].code).exit_status)
