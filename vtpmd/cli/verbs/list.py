"""vtpmctl list: all instances."""

import click

from vtpmd.api import names
from vtpmd.api.schema import InstanceInfo

from ..output import client, json_option, show_json, show_table


@click.command
@json_option
def command(as_json: bool) -> None:
    """List all instances."""
    answer = client().list()
    if as_json:
        show_json(answer.document)
        return
    show_table(
        ("NAME", "UUID", "STATE", "REASON"),
        [
            (info.name, str(info.uuid), _state(info), info.reason + _note(info))
            for info in answer.instances
        ],
    )


def _state(info: InstanceInfo) -> str:
    words = ["asleep" if info.asleep else info.state]
    return ", ".join(words if info.handover in ("", names.OURS) else [*words, info.handover])


def _note(info: InstanceInfo) -> str:
    others = info.shares_identity_with
    return f"; same secrets as {', '.join(others)}" if others else ""
