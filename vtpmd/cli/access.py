"""Options that say who may connect to an instance's sockets."""

import click


def _text(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """`default` is how people write the empty text, which stands for what is configured."""
    return "" if value == "default" else value


owner_option = click.option(
    "--owner",
    metavar="USER[:GROUP]",
    callback=_text,
    help="Who may connect to its sockets, by name or number; :GROUP alone is possible, too. "
    "'default': as it is configured.",
)
mode_option = click.option(
    "--mode",
    metavar="OCTAL",
    callback=_text,
    help="Mode of its sockets; 0660 where they have an owner of their own.",
)
