"""vtpmctl rekey: protect instances by other keys."""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from vtpmd.api import names

from ..output import call, json_option, show_json
from ..several import each


@click.command
@click.argument("name", metavar="NAME|UUID", required=False)
@click.option("--all", "everything", is_flag=True, help="Every instance.")
@click.option("--provider", help="Every instance whose key this key provider holds.")
@click.option("--deep", is_flag=True, help="Also encrypt the state under a new key.")
@click.option("--to-provider", metavar="PROVIDER", help="Move the key to this key provider.")
@click.option(
    "--since",
    metavar="TIME",
    help="Leave alone what was rekeyed since then (ISO 8601), to go on where a rekey was ended.",
)
@json_option
def command(
    name: str | None,
    everything: bool,
    provider: str | None,
    deep: bool,
    to_provider: str | None,
    since: str | None,
    as_json: bool,
) -> None:
    """Wrap an instance's key anew under the current key of its key provider; it may be running.

    An instance under the current key is left as it is, unless --deep is given: so the same command
    goes on where another was ended. Whatever happens, the state opens with the old or the new key.
    """
    if [name is not None, everything, provider is not None].count(True) != 1:
        raise click.UsageError("Give the name of an instance, or --all, or --provider.")
    begun = datetime.now(UTC).replace(microsecond=0).isoformat()
    wishes = {"deep": deep, "provider": to_provider, "since": since}
    content = {key: value for key, value in wishes.items() if value is not None}
    if name is not None:
        result = call(names.REKEY, name, content)
        if as_json:
            show_json(result)
        else:
            click.echo(_line(result))
        return
    instances = [
        info for info in call(names.LIST)["instances"] if provider in (None, info["provider"])
    ]
    try:
        each(instances, names.REKEY, content, _line, "rekeyed" if as_json else None)
    except KeyboardInterrupt:
        again = f" with --since {since or begun}" if deep else ""
        click.echo(f"vtpmctl: interrupted; the same command{again} goes on from here", err=True)
        sys.exit(names.EXIT_INTERRUPTED)


def _line(result: dict[str, Any]) -> str:
    keys = ", ".join(
        f"{key['provider']} {key['key_version'] or key['key_ref']} ({key['purpose']})"
        for key in result["keys"]
    )
    return f"{result['name']}: {'now under' if result['changed'] else 'already under'} {keys}"
