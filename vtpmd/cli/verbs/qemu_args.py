"""vtpmctl qemu-args: how QEMU connects to an instance."""

import re

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError

from ..output import client, demand_printable, json_option, name_argument, say, show_json

DEVICES = {"crb": "tpm-crb", "tis": "tpm-tis"}


def arguments(control_socket: str, model: str) -> list[str]:
    """QEMU's arguments; a comma in a value is doubled, as QEMU's option parser wants it."""
    path = control_socket.replace(",", ",,")
    return [
        "-chardev",
        f"socket,id=vtpm0,path={path}",
        "-tpmdev",
        "emulator,id=tpm0,chardev=vtpm0",
        "-device",
        f"{DEVICES[model]},tpmdev=tpm0",
    ]


@click.command
@name_argument
@click.option(
    "--model", type=click.Choice(list(DEVICES)), default="crb", show_default=True, help="Device."
)
@json_option
def command(name: str, model: str, as_json: bool) -> None:
    """Print QEMU's arguments, for use as: qemu-system-x86_64 … $(vtpmctl qemu-args NAME)"""
    args = arguments(client().info(name).control_socket, model)
    if as_json:
        show_json({"arguments": args})
        return
    demand_printable(*args)
    # Quotes would not survive $(…): the shell splits and globs its result and reads no quotes.
    if not all(re.fullmatch(r"[^\s*?\[\]\\]+", argument) for argument in args):
        detail = "The socket's path has characters a shell would split or expand: use --json."
        raise ClientError(problems.INVALID, detail)
    say(" ".join(args))
