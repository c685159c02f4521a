"""vtpmctl list: all instances."""

from typing import Any

import click

from vtpmd.api import names

from ..output import call, json_option, show_json, show_table


@click.command
@json_option
def command(as_json: bool) -> None:
    """List all instances."""
    answer = call(names.LIST)
    if as_json:
        show_json(answer)
        return
    show_table(
        ("NAME", "UUID", "STATE", "REASON"),
        [
            (info["name"], info["uuid"], info["state"], info["reason"] + _note(info))
            for info in answer["instances"]
        ],
    )


def _note(info: dict[str, Any]) -> str:
    twins = info["shares_identity_with"]
    return f"; same secrets as {', '.join(twins)}" if twins else ""
