"""vtpmctl delete: remove a TPM for good."""

import sys
from collections.abc import Iterator

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError
from vtpmd.api.schema import Deletion
from vtpmd.api.text import printable

from ..output import client, json_option, name_argument, say, show_json

WARNING = (
    "Deleting {name} destroys its keys. Whatever the virtual machine has sealed to this TPM, such "
    "as BitLocker or LUKS keys, becomes unrecoverable without a recovery key kept elsewhere. "
    "Backups of its state, if there are any, can still be opened unless its key provider keeps a "
    "key for each instance: that key is destroyed."
)


@click.command
@name_argument
@click.option("--yes", is_flag=True, help="Delete it without asking; needed where no terminal is.")
@json_option
def command(name: str, yes: bool, as_json: bool) -> None:
    """Remove an instance and its secrets; it must not be running.

    Reports what was destroyed and what was not.
    """
    if not yes:
        _confirm(name, asking=not as_json and sys.stdin.isatty())
    deletion = client().delete(name)
    if as_json:
        show_json(deletion.document)
        return
    for line in _lines(deletion):
        say(line)


def _confirm(name: str, asking: bool) -> None:
    """Go on if the person at the terminal, where there is one, says so. Raises ClientError."""
    warning = WARNING.format(name=name)
    if not asking:
        raise ClientError(problems.UNCONFIRMED, warning)
    say(warning, err=True)
    if not click.confirm(printable(f"Delete {name}?"), err=True):
        raise ClientError(problems.UNCONFIRMED, f"{name} is not deleted.")


def _lines(deletion: Deletion) -> Iterator[str]:
    yield f"{deletion.deleted} is deleted: its files are removed."
    if deletion.keys is None:
        yield "Its state could not be read: no key was destroyed at any key provider."
    for key in deletion.keys or ():
        what = f"key {key.key_ref} {key.key_version}".rstrip()
        where = f"{what} of key provider {key.provider}"
        if key.destroyed:
            yield f"Destroyed: {where}. No copy or backup that needs it opens any more."
        else:
            yield f"Not destroyed: {where}: {key.reason}."
    if others := deletion.secrets_remain_in:
        yield f"The same secrets remain in: {', '.join(others)}."
