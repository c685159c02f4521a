"""vtpmctl pcr: read the PCRs of a running TPM."""

import click

from vtpmd.api import problems
from vtpmd.api.errors import ClientError

from ..output import client, json_option, name_argument, say, show_json


@click.command
@name_argument
@click.argument("indices", metavar="[PCR]…", nargs=-1, type=click.IntRange(0, 23))
@click.option("--bank", help="Only this bank, for example sha256.")
@json_option
def command(name: str, indices: tuple[int, ...], bank: str | None, as_json: bool) -> None:
    """Show PCR values, all or those given, in the layout of tpm2_pcrread."""
    banks = client().pcrs(name).banks
    if bank is not None and banks and bank not in banks:
        raise ClientError(problems.INVALID, f"bank: {name} has {', '.join(banks)}")
    chosen = {
        algorithm: {
            index: digest for index, digest in digests.items() if not indices or index in indices
        }
        for algorithm, digests in banks.items()
        if bank in (None, algorithm)
    }
    if as_json:
        show_json({"banks": chosen})
    elif not banks:
        say(f"The TPM of {name} is off: it has no PCR values.")
    for algorithm, digests in chosen.items() if not as_json else ():
        say(f"{algorithm}:")
        for index, digest in digests.items():
            say(f"  {index:<2}: 0x{digest.upper()}")
