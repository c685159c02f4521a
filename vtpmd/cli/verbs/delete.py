"""vtpmctl delete: remove a TPM for good."""

import click

from vtpmd.admin import names
from vtpmd.cli.output import call, json_option, name_argument, show_json

WARNING = (
    "Deleting {name} destroys its keys. Whatever the virtual machine has sealed to this TPM, such\n"
    "as BitLocker or LUKS keys, becomes unrecoverable without a recovery key kept elsewhere.\n"
    "Backups of its state, if there are any, can still be opened through the key provider."
)


@click.command
@name_argument
@click.option("--yes", is_flag=True, help="Delete it without asking.")
@json_option
def command(name: str, yes: bool, as_json: bool) -> None:
    """Remove an instance and its secrets; it must not be running."""
    if not yes:
        click.echo(WARNING.format(name=name), err=True)
        raise click.UsageError("Nothing was deleted. Add --yes to delete it.")
    call(names.DELETE, name)
    if as_json:
        show_json({"deleted": name})
    else:
        click.echo(f"{name} is deleted.")
