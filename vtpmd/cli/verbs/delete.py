"""vtpmctl delete: remove a TPM for good."""

from typing import Any

import click

from vtpmd.api import names, problems
from vtpmd.api.client import Failure

from ..output import call, fail, json_option, name_argument, show_json

WARNING = (
    "Deleting {name} destroys its keys. Whatever the virtual machine has sealed to this TPM, such\n"
    "as BitLocker or LUKS keys, becomes unrecoverable without a recovery key kept elsewhere.\n"
    "Backups of its state, if there are any, can still be opened unless its key provider keeps a\n"
    "key for each instance: that key is destroyed."
)


@click.command
@name_argument
@click.option("--yes", is_flag=True, help="Delete it without asking.")
@json_option
def command(name: str, yes: bool, as_json: bool) -> None:
    """Remove an instance and its secrets; it must not be running.

    Tells what was destroyed and what was not.
    """
    if not yes:
        fail(Failure.of(problems.UNCONFIRMED, WARNING.format(name=name)))
    deletion = call(names.DELETE, name)
    if as_json:
        show_json(deletion)
        return
    for line in _report(deletion):
        click.echo(line)


def _report(deletion: dict[str, Any]) -> list[str]:
    lines = [f"{deletion['deleted']} is deleted: its files are removed."]
    if deletion["keys"] is None:
        lines.append("Its state could not be read: no key was destroyed at any key provider.")
    for key in deletion["keys"] or ():
        what = f"key {key['key_ref']} {key['key_version']}".rstrip()
        where = f"{what} of key provider {key['provider']}"
        if key["destroyed"]:
            lines.append(f"Destroyed: {where}. No copy or backup that needs it opens any more.")
        else:
            lines.append(f"Not destroyed: {where}: {key['reason']}.")
    if twins := deletion["secrets_remain_in"]:
        lines.append(f"The same secrets remain in: {', '.join(twins)}.")
    return lines
