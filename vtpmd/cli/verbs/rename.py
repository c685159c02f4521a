"""vtpmctl rename: give an instance another name."""

import click

from vtpmd.api.schema import RenameRequest

from ..output import client, json_option, name_argument, show_instance


@click.command
@name_argument
@click.argument("new", metavar="NEW_NAME")
@json_option
def command(name: str, new: str, as_json: bool) -> None:
    """Give an instance that is not running another name; its UUID stays.

    The paths of its sockets have the name in them: give the machine the new arguments.
    """
    show_instance(client().rename(name, RenameRequest(name=new)), as_json)
