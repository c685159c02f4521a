"""vtpmctl unlock: try again to get the keys of locked instances."""

import sys

import click

from vtpmd.api.errors import problem_of
from vtpmd.api.schema import UnlockRequest

from ..completion import INSTANCE, PROVIDER
from ..output import client, json_option, say, show_json, show_state


@click.command
@click.argument("name", metavar="NAME|UUID", type=INSTANCE, required=False)
@click.option("--all", "everything", is_flag=True, help="Every locked instance.")
@click.option(
    "--provider", type=PROVIDER, help="Every locked instance whose key this key provider holds."
)
@json_option
def command(name: str | None, everything: bool, provider: str | None, as_json: bool) -> None:
    """Try at once to get the key of a locked instance, and serve it if it should be served.

    Instances that are not locked are not changed.
    """
    if [name is not None, everything, provider is not None].count(True) != 1:
        raise click.UsageError("Give the name of an instance, or --all, or --provider.")
    if name is not None:
        show_state(client().unlock(name), as_json)
        return
    result = client().unlock_all(UnlockRequest(provider=provider))
    if as_json:
        show_json(result.document)
    else:
        say(f"unlocked: {', '.join(sorted(result.unlocked)) or 'none'}")
        for failure in result.failed:
            say(f"{failure.name} stays locked: {failure.detail}", err=True)
    if result.failed:
        sys.exit(problem_of(result.failed[0].code).exit_status)
