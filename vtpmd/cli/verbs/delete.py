"""vtpmctl delete: remove TPMs for good."""

import sys
from collections.abc import Iterator

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError
from vtpmd.api.schema import Deletion
from vtpmd.api.text import printable

from ..output import client, json_option, names_argument, say, show_json
from ..several import each_named

WARNING = (
    "Deleting {names} destroys its keys. Whatever a virtual machine has sealed to such a TPM, as "
    "BitLocker or LUKS keys, becomes unrecoverable without a recovery key kept elsewhere. "
    "Backups of its state, if there are any, can still be opened unless its key provider keeps a "
    "key for each instance: that key is destroyed."
)


@click.command
@names_argument
@click.option("--yes", is_flag=True, help="Delete without asking; needed where no terminal is.")
@json_option
def command(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Remove instances and their secrets; they must not be running.

    Reports what was destroyed and what was not.
    """
    if not yes:
        _confirm(", ".join(names), asking=not as_json and sys.stdin.isatty())
    if len(names) > 1:
        each_named(names, client().delete, _line, "deleted" if as_json else None)
        return
    deletion = client().delete(names[0])
    if as_json:
        show_json(deletion.document)
        return
    for line in _lines(deletion):
        say(line)


def _confirm(names: str, asking: bool) -> None:
    """Go on if the person at the terminal, where there is one, says so. Raises ClientError."""
    warning = WARNING.format(names=names)
    if not asking:
        raise ClientError(problems.UNCONFIRMED, warning)
    say(warning, err=True)
    if not click.confirm(printable(f"Delete {names}?"), err=True):
        raise ClientError(problems.UNCONFIRMED, "Nothing is deleted.")


def _line(deletion: Deletion) -> str:
    return " ".join(_lines(deletion))


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
