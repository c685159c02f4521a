"""vtpmctl ek: the endorsement keys of instances, and their certificates."""

import base64
from functools import partial
from pathlib import Path

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError
from vtpmd.api.schema import (
    EkImportRequest,
    EkInfo,
    EkRenewRequest,
    EkRequestsRequest,
)

from .. import files
from ..output import (
    client,
    end_text,
    json_option,
    name_argument,
    say,
    show_fields,
    show_json,
    show_pem,
    show_table,
    some_names_argument,
)
from ..several import each, one_or_each

MAX_CERTIFICATES = 64 << 10

trust_option = click.option(
    "--trust-now",
    is_flag=True,
    help="Believe what its worker says of a TPM whose keys were not noted when it was made.",
)
kind_option = click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="rsa-2048, ecc-p256 or ecc-p384."
)


@click.group
def command() -> None:
    """Look at endorsement keys; get, bring and renew their certificates."""


@command.command
@name_argument
@click.option("--pem", "as_pem", is_flag=True, help="Print the certificates and their chain.")
@json_option
def show(name: str, as_pem: bool, as_json: bool) -> None:
    """Show the endorsement keys of an instance and their certificates."""
    found = client().ek(name)
    if as_json:
        show_json(found.document)
    elif as_pem:
        certificates = [key.certificate for key in found.keys if key.certificate]
        show_pem(*certificates, *([found.chain] if found.chain else []))
    else:
        _show(found)


def _show(found: EkInfo) -> None:
    show_fields(
        [
            ("name", found.name),
            ("identity", str(found.identity)),
            ("certificates", found.certificates),
            ("keys are believed because", _REASONS.get(found.known, "they are not known")),
        ]
    )
    rows = [
        (
            key.kind,
            key.state,
            "" if key.not_after is None else end_text(key.not_after),
            key.issuer,
            key.name,
        )
        for key in found.keys
    ]
    show_table(("KEY", "CERTIFICATE", "END", "ISSUER", "NAME"), rows)


_REASONS = {
    "made": "the worker that made the TPM told them",
    "trusted": "an administrator trusted its worker later",
    "restored": "certificates in a backup prove them",
}


@command.command
@name_argument
@kind_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write a new file for each key into this directory.",
)
@click.option("--public", is_flag=True, help="The bare public keys instead of requests.")
@trust_option
@json_option
def csr(
    name: str,
    kinds: tuple[str, ...],
    out: Path | None,
    public: bool,
    trust_now: bool,
    as_json: bool,
) -> None:
    """Print requests (PKCS#10) for certificates of another authority.

    Each is signed by its endorsement key and names all extensions that the certificate should have.
    """
    if public:
        known = {key.kind: key.public_key for key in client().ek(name).keys}
        wanted = kinds or known.keys()
        if not known or not known.keys() >= set(wanted):
            raise ClientError(
                problems.INVALID, f"{name} has {' and '.join(known) or 'no'} keys that are known."
            )
        texts = {kind: known[kind] for kind in wanted}
        document: dict[str, object] = {"public_keys": texts}
    else:
        request = EkRequestsRequest(kinds=kinds or None, trust_now=trust_now)
        found = client().ek_requests(name, request)
        texts, document = found.requests, found.document
    if out is not None:
        _write(out, name, "pub.pem" if public else "csr", texts, as_json)
    elif as_json:
        show_json(document)
    else:
        show_pem(*texts.values())


def _write(out: Path, name: str, ending: str, texts: dict[str, str], as_json: bool) -> None:
    paths = {kind: out / f"{name}-{kind}.{ending}" for kind in texts}
    for path in paths.values():
        files.check_absent(path)
    for kind, path in paths.items():
        files.write(path, texts[kind].encode(errors="backslashreplace"))
    if as_json:
        show_json({"files": {kind: str(path) for kind, path in paths.items()}})
        return
    for path in paths.values():
        say(str(path))


@command.command("import")
@name_argument
@click.argument(
    "paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--ca",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Certificates that those in FILE have to chain to, in place of the configured ones.",
)
@json_option
def import_(name: str, paths: tuple[Path, ...], roots: tuple[Path, ...], as_json: bool) -> None:
    """Give an instance the certificates in each FILE (PEM or DER), with their chain, in any order.

    They are refused as a whole, or are in its TPM when this returns; it may be running.
    """
    request = EkImportRequest(files=_contents(paths), roots=_contents(roots) or None)
    _print(client().ek_import(name, request), as_json)


def _contents(paths: tuple[Path, ...]) -> dict[str, str]:
    contents = {path: files.read(path, MAX_CERTIFICATES) for path in paths}
    return {str(path): base64.b64encode(octets).decode() for path, octets in contents.items()}


@command.command
@some_names_argument
@click.option("--all", "everything", is_flag=True, help="Every instance.")
@trust_option
@json_option
def renew(names: tuple[str, ...], everything: bool, trust_now: bool, as_json: bool) -> None:
    """Give an instance new certificates of the own authority; it may be running."""
    if everything is bool(names):
        raise click.UsageError("Give names of instances, or --all.")
    ask = partial(client().ek_renew, request=EkRenewRequest(trust_now=trust_now))
    json_name = "renewed" if as_json else None
    if names:
        one_or_each(names, ask, _line, json_name)
    else:
        each(client().list().instances, ask, _line, json_name)


def _print(found: EkInfo, as_json: bool) -> None:
    if as_json:
        show_json(found.document)
    else:
        say(_line(found))


def _line(found: EkInfo) -> str:
    kinds = ", ".join(key.kind for key in found.keys if key.certificate)
    return f"{found.name}: certificates {found.certificates} ({kinds or 'none'})"
