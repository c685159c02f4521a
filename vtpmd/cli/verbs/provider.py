"""vtpmctl provider: the key providers, and the keys of those that keep them here."""

import base64
import os
from pathlib import Path
from typing import Any

import click

from vtpmd.api import names

from .. import files
from ..output import call, json_option, show_json, show_saved, show_table

MAX_PASSPHRASE = 1024
MAX_KEYS = 160 * 1024  # in base64 it must fit into a request

provider_argument = click.argument("provider")
passphrase_option = click.option(
    "--passphrase-fd",
    metavar="FD",
    type=int,
    help="Read the passphrase from this file descriptor, to the end; otherwise it is asked for.",
)


@click.group
def command() -> None:
    """Look at key providers; rotate, save and restore the keys of local ones."""


@command.command("list")
@json_option
def show(as_json: bool) -> None:
    """List the configured key providers and how many instances need each."""
    answer = call(names.PROVIDERS)
    if as_json:
        show_json(answer)
        return
    rows = [_row(provider) for provider in answer["providers"]]
    rows += [(name, "", "", "", "not configured, but needed") for name in answer["not_configured"]]
    show_table(("NAME", "TYPE", "ROLE", "INSTANCES", "STATE"), rows)


def _row(provider: dict[str, Any]) -> tuple[str, ...]:
    role = ", ".join(role for role in ("default", "recovery") if provider[role])
    state = provider["reason"] if provider["available"] else f"unavailable: {provider['reason']}"
    return provider["name"], provider["type"], role, str(provider["instances"]), state


@command.command
@provider_argument
@json_option
def rotate(provider: str, as_json: bool) -> None:
    """Make a new key that wraps the instances' keys from now on.

    Present instances stay under the old one until `vtpmctl rekey`.
    """
    result = call(names.ROTATE, provider)
    if as_json:
        show_json(result)
        return
    click.echo(f"{provider} wraps with key {result['key_version']} from now on.")
    click.echo(f"  `vtpmctl provider backup {provider} FILE` saves it,")
    click.echo(f"  `vtpmctl rekey --provider {provider}` brings it to the instances.")


@command.command
@provider_argument
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@json_option
def backup(provider: str, file: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Save a local provider's keys in a new FILE (- is standard output), under a passphrase.

    Keep it apart from this host and its backups: with the state files it opens every TPM.
    """
    files.check_absent(file)
    passphrase = _passphrase(passphrase_fd, confirm=True)
    answer = call(names.BACKUP_KEYS, provider, {"passphrase": passphrase})
    files.write(file, base64.b64decode(answer["backup"]))
    saved = {"key_versions": answer["key_versions"]}
    call(names.NOTE_BACKUP, provider, saved)
    line = f"{len(answer['key_versions'])} key(s) of {provider} are saved in {file}."
    show_saved(file, saved, line, as_json)


@command.command("import")
@provider_argument
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@json_option
def import_(provider: str, file: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Add the keys in FILE, made by `provider backup`, to a local provider; none is lost."""
    content = base64.b64encode(files.read(file, MAX_KEYS)).decode()
    passphrase = _passphrase(passphrase_fd, confirm=False)
    result = call(names.IMPORT_KEYS, provider, {"backup": content, "passphrase": passphrase})
    if as_json:
        show_json(result)
        return
    click.echo(f"{result['added']} key(s) were added to {provider}.")
    click.echo("  `vtpmctl unlock --all` tries locked instances again.")


def _passphrase(fd: int | None, confirm: bool) -> str:
    if fd is None:
        asked: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)
        return asked
    content = bytearray()
    try:
        while part := os.read(fd, MAX_PASSPHRASE):
            content += part
            if len(content) > MAX_PASSPHRASE:
                raise ValueError
        return content.removesuffix(b"\n").decode()
    except (OSError, ValueError):
        raise click.BadParameter(
            f"no passphrase of at most {MAX_PASSPHRASE} bytes in UTF-8 can be read from it",
            param_hint="--passphrase-fd",
        ) from None
