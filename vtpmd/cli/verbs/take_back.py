"""vtpmctl take-back: let a TPM that was handed over go on here."""

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError

from ..output import client, hand_over_line, json_option, name_argument, say, show_json

WARNING = (
    "If {name} goes on at another host, or its machine was saved and is restored later, there will "
    "be two of this TPM, and what one stores the other does not have. Make sure that there is none."
)


@click.command
@name_argument
@click.option("--yes", is_flag=True, help="No other host goes on with it.")
@json_option
def command(name: str, yes: bool, as_json: bool) -> None:
    """Let an instance go on here, with what is stored here: lent, away, or a lost host's."""
    if not yes:
        raise ClientError(problems.UNCONFIRMED, WARNING.format(name=name))
    info = client().take_back(name)
    if as_json:
        show_json(info.document)
    else:
        say(hand_over_line(info))
