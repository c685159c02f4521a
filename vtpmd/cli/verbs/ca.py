"""vtpmctl ca: the own certificate authority."""

import base64
from pathlib import Path

import click

from vtpmd.api.schema import CaCertificate, CaImportRequest, CaRekeyRequest, CaRevokeRequest

from .. import files
from ..completion import INSTANCE, PROVIDER
from ..output import (
    client,
    end_text,
    held_by,
    json_option,
    say,
    show_json,
    show_pem,
    show_saved,
    show_table,
)

MAX_CHAIN = 64 << 10

file_argument = click.argument("file", type=click.Path(path_type=Path))


@click.group
def command() -> None:
    """Show the certificate authority for endorsement keys, and what it gave out."""


@command.command
@click.option(
    "--issuing", "part", flag_value="issuing", help="The certificate that issues (the default)."
)
@click.option("--root", "part", flag_value="root", help="The root above it.")
@click.option("--chain", "part", flag_value="chain", help="From the one that issues to the root.")
@json_option
def show(part: str | None, as_json: bool) -> None:
    """Print the authority's certificates (PEM).

    It is made when it first signs something: for the first TPM, or for `vtpmctl ca csr` or `crl`.
    """
    found = client().ca()
    if as_json:
        show_json(found.document)
    else:
        show_pem(getattr(found, part or "issuing"))


@command.command("list")
@json_option
def show_list(as_json: bool) -> None:
    """List all certificates that were given to TPMs, in order."""
    found = client().ca_certificates()
    if as_json:
        show_json(found.document)
        return
    headings = ("SERIAL", "IDENTITY", "KEY", "ITS SHA-256", "SOURCE", "ISSUED", "END", "STATE")
    show_table(headings, map(_row, found.certificates))


def _row(given: CaCertificate) -> tuple[str, ...]:
    state = "refused by the TPM" if given.refused else "given"
    if given.revoked:
        since = "" if given.revoked_at is None else f" on {given.revoked_at.date().isoformat()}"
        state = f"revoked{since}: {given.revoked}"
    return (
        given.serial,
        str(given.identity),
        given.kind,
        given.key,
        given.source,
        given.issued.date().isoformat(),
        end_text(given.not_after),
        state,
    )


@command.command
@file_argument
@json_option
def crl(file: Path, as_json: bool) -> None:
    """Write the revocation lists (PEM) to a new FILE (- is standard output).

    One for each certificate that the authority has issued with, the current one first. They are
    current for 30 days.
    """
    files.check_absent(file)
    found = client().ca_crl()
    files.write(file, "".join(found.lists).encode(errors="backslashreplace"))
    show_saved(file, {"lists": len(found.lists)}, f"The revocation list is in {file}.", as_json)


@command.command
@click.argument("subject", metavar="NAME|SERIAL", type=INSTANCE)
@click.option("--reason", default="unspecified", show_default=True, help="As RFC 5280 has them.")
@json_option
def revoke(subject: str, reason: str, as_json: bool) -> None:
    """Revoke the certificates of an instance, or the one with a serial number, for good.

    `vtpmctl ca crl` tells others; `vtpmctl ek renew` gives the instance new ones.
    """
    found = client().ca_revoke(CaRevokeRequest(subject=subject, reason=reason))
    if as_json:
        show_json(found.document)
        return
    for serial in found.revoked:
        say(f"{serial} is revoked.")
    if not found.revoked:
        say("They were revoked already.")


@command.command
@file_argument
@json_option
def csr(file: Path, as_json: bool) -> None:
    """Write a request for an issuing CA below your own to a new FILE (- is standard output)."""
    files.check_absent(file)
    found = client().ca_request()
    files.write(file, found.request.encode(errors="backslashreplace"))
    show_saved(
        file, {}, f"The request is in {file}; `vtpmctl ca import` brings the answer.", as_json
    )


@command.command("import")
@click.argument("chain", type=click.Path(path_type=Path))
@json_option
def import_(chain: Path, as_json: bool) -> None:
    """Issue from now on with the certificate in CHAIN, which has those up to the root, too."""
    content = base64.b64encode(files.read(chain, MAX_CHAIN)).decode()
    found = client().ca_import(CaImportRequest(file=str(chain), chain=content))
    if as_json:
        show_json(found.document)
    else:
        say("The authority issues with the new certificate; `vtpmctl ek renew --all` uses it.")


@command.command
@click.option(
    "--to-provider", type=PROVIDER, metavar="PROVIDER", help="Move the key to this key provider."
)
@json_option
def rekey(to_provider: str | None, as_json: bool) -> None:
    """Seal the authority's keys under a new key, of its key provider or another.

    They always open with the old or the new one. `vtpmctl rekey` is for instances.
    """
    found = client().ca_rekey(CaRekeyRequest(provider=to_provider))
    if as_json:
        show_json(found.document)
    else:
        say(f"The authority is now under {held_by(found.keys)}.")
