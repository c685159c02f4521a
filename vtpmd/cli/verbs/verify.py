"""vtpmctl verify: judge what other machines' TPMs say. No daemon takes part in it.

What does the work is imported when it is called: it takes longer than vtpmctl itself.
"""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from ..output import json_option

FILE = click.Path(path_type=Path)
Function = Callable[..., Any]


def _hex(_: click.Context, __: click.Parameter, value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        found = bytes.fromhex(value)
    except ValueError:
        raise click.BadParameter("it is not hexadecimal") from None
    if not found:
        raise click.BadParameter("it is empty")
    return found


def _indices(_: click.Context, __: click.Parameter, value: str | None) -> frozenset[int] | None:
    if value is None:
        return None
    try:
        found = frozenset(map(int, value.split(",")))
    except ValueError:
        found = frozenset({-1})
    if not found <= set(range(24)):
        raise click.BadParameter("it is no list of PCRs like 8,9")
    return found


_QUOTE_OPTIONS = (
    click.option("--ak", type=FILE, metavar="FILE", help="ak.json of `verify response`; or a "
                 "TPM2B_PUBLIC, PEM key or certificate."),
    click.option("--ak-name", callback=_hex, metavar="HEX", help="The Name that the key has to "
                 "have, known from elsewhere."),
    click.option("--ca", type=FILE, metavar="FILE", help="Roots of an AK certificate."),
    click.option("--message", type=FILE, metavar="FILE", help="What is signed (tpm2_quote -m)."),
    click.option("--signature", type=FILE, metavar="FILE", help="The signature (tpm2_quote -s)."),
    click.option("--nonce", callback=_hex, metavar="HEX", help="What the verifier has drawn for "
                 "this quote."),
    click.option("--pcrs", type=FILE, metavar="FILE", help="PCR values (tpm2_quote -o, "
                 "tpm2_pcrread, vtpmctl pcr --json)."),
    click.option("--log", type=FILE, metavar="FILE", help="The event log "
                 "(binary_bios_measurements)."),
    click.option("--allow-sha1", is_flag=True, help="Take SHA-1 signatures and PCR banks, which "
                 "can be forged."),
    click.option("--unlogged", callback=_indices, metavar="PCRS", help="PCRs that are extended "
                 "without the log, like 11,15: not compared with it."),
)  # fmt: skip


def quote_options(function: Function) -> Function:
    """The options that say which quote is judged."""
    return reduce(lambda wrapped, option: option(wrapped), reversed(_QUOTE_OPTIONS), function)


@click.group
def command() -> None:
    """Judge what other machines' TPMs say: without the daemon, a network or privileges."""


@command.command
@click.option(
    "--ek-cert",
    type=FILE,
    metavar="FILE",
    required=True,
    help="The EK's certificate, with its issuers unless they are roots.",
)
@click.option("--ca", type=FILE, metavar="FILE", required=True, help="Roots that are trusted.")
@click.option(
    "--ak",
    type=FILE,
    metavar="FILE",
    required=True,
    help="The AK's TPM2B_PUBLIC (tpm2_createak -u).",
)
@click.option(
    "-o",
    "--out",
    type=FILE,
    metavar="DIR",
    required=True,
    help="Where to: credential.blob goes to the machine, challenge.json stays.",
)
@json_option
def challenge(ek_cert: Path, ca: Path, ak: Path, out: Path, as_json: bool) -> None:
    """Make a credential that only the TPM with this EK and this AK can open.

    The machine answers with `tpm2_activatecredential -i credential.blob`.
    """
    from .. import activating

    activating.challenge(ek_cert, ca, ak, out, as_json)


@command.command
@click.argument("directory", metavar="DIR", type=FILE)
@click.argument("answer", metavar="FILE", type=FILE)
@json_option
def response(directory: Path, answer: Path, as_json: bool) -> None:
    """Compare an answer with the challenge in DIR; if it is right, write DIR/ak.json.

    ak.json is the proof that this AK is in the TPM with the certified EK.
    """
    from .. import activating

    activating.response(directory, answer, as_json)


@command.command
@quote_options
@click.option("--policy", type=FILE, metavar="FILE", help="What is to have booted, in YAML.")
@json_option
def quote(policy: Path | None, as_json: bool, **options: Any) -> None:
    """Judge a quote, with its log and against a policy.

    --ak, --message, --signature and --nonce are needed, and --pcrs, --log or both. The exit status
    tells the first check that failed, --json all of them.
    """
    from .. import verifying

    verifying.quote(policy, as_json, **options)


@command.command
@click.argument("file", metavar="FILE", type=FILE)
@json_option
def log(file: Path, as_json: bool) -> None:
    """Print an event log, what its digests cover, and the PCR values it makes.

    Nothing proves a log but a quote.
    """
    from .. import verifying

    verifying.log(file, as_json)


@command.command
@quote_options
@click.option(
    "--indices",
    callback=_indices,
    metavar="PCRS",
    help="The PCRs whose values are demanded; all that the log extends otherwise.",
)
@click.option(
    "-o",
    "--out",
    type=FILE,
    metavar="FILE",
    default=Path("-"),
    help="The policy's file; standard output otherwise.",
)
@json_option
def learn(indices: frozenset[int] | None, out: Path, as_json: bool, **options: Any) -> None:
    """Write the policy that a machine known to be good keeps.

    --log is needed. With a quote it is learnt only if that is genuine.
    """
    from .. import verifying

    verifying.learn(indices, out, as_json, **options)
