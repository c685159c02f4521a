"""vtpmctl provider: the key providers, and the keys of those that keep them here."""

import base64
import os
import sys
from pathlib import Path

import click

from vtpmd.api import problems
from vtpmd.api.errors import FILE, ClientError
from vtpmd.api.schema import BackupNote, BackupRequest, KeyImportRequest, ProviderDetails

from .. import files
from ..completion import PROVIDER
from ..output import client, json_option, provider_roles, say, show_json, show_saved, show_table

MAX_PASSPHRASE = 1024
MAX_KEYS = 160 * 1024  # in base64 it must fit into a request

provider_argument = click.argument("provider", type=PROVIDER)
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
    answer = client().providers()
    if as_json:
        show_json(answer.document)
        return
    rows = [_row(provider) for provider in answer.providers]
    rows += [(name, "", "", "", "not configured, but needed") for name in answer.not_configured]
    show_table(("NAME", "TYPE", "ROLE", "INSTANCES", "STATE"), rows)


def _row(provider: ProviderDetails) -> tuple[str, ...]:
    role = ", ".join(provider_roles(provider))
    state = provider.reason if provider.available else f"unavailable: {provider.reason}"
    return provider.name, provider.type, role, str(provider.instances), state


@command.command
@provider_argument
@json_option
def rotate(provider: str, as_json: bool) -> None:
    """Make a new key that wraps the instances' keys from now on.

    Present instances stay under the old one until `vtpmctl rekey`.
    """
    result = client().rotate(provider)
    if as_json:
        show_json(result.document)
        return
    say(f"{provider} wraps with key {result.key_version} from now on.")
    say(f"  `vtpmctl provider backup {provider} FILE` saves it,")
    say(f"  `vtpmctl rekey --provider {provider}` brings it to the instances.")


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
    made = client().backup_keys(provider, BackupRequest(passphrase=passphrase))
    try:
        content = base64.b64decode(made.backup, validate=True)
    except ValueError:
        raise ClientError(problems.INTERNAL, "The daemon's backup is not in base64.") from None
    files.write(file, content)
    client().note_backup(provider, BackupNote(key_versions=made.key_versions))
    line = f"{len(made.key_versions)} key(s) of {provider} are saved in {file}."
    show_saved(file, {"key_versions": made.key_versions}, line, as_json)


@command.command("import")
@provider_argument
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@json_option
def import_(provider: str, file: Path, passphrase_fd: int | None, as_json: bool) -> None:
    """Add the keys in FILE, made by `provider backup`, to a local provider; none is lost."""
    content = base64.b64encode(files.read(file, MAX_KEYS)).decode()
    passphrase = _passphrase(passphrase_fd, confirm=False)
    request = KeyImportRequest(backup=content, passphrase=passphrase)
    result = client().import_keys(provider, request)
    if as_json:
        show_json(result.document)
        return
    say(f"{result.added} key(s) were added to {provider}.")
    say("  `vtpmctl unlock --all` tries locked instances again.")


def _passphrase(fd: int | None, confirm: bool) -> str:
    if fd is None:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "There is no terminal to ask for the passphrase: give --passphrase-fd."
            )
        asked: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm)
        return asked
    content = bytearray()
    try:
        while part := os.read(fd, MAX_PASSPHRASE):
            content += part
            if len(content) > MAX_PASSPHRASE:
                raise ValueError
        return content.removesuffix(b"\n").decode()
    except OSError as error:
        raise ClientError(FILE, f"file descriptor {fd}: {error.strerror}") from None
    except ValueError:
        raise click.BadParameter(
            f"no passphrase of at most {MAX_PASSPHRASE} bytes in UTF-8 can be read from it",
            param_hint="--passphrase-fd",
        ) from None
