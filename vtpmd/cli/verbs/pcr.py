"""vtpmctl pcr: read the PCRs of a running TPM."""

import click

from vtpmd.api import names

from ..output import call, json_option, name_argument, show_json


@click.command
@name_argument
@click.argument("indices", metavar="[PCR]…", nargs=-1, type=click.IntRange(0, 23))
@click.option("--bank", help="Only this bank, for example sha256.")
@json_option
def command(name: str, indices: tuple[int, ...], bank: str | None, as_json: bool) -> None:
    """Show PCR values, all or those given, in the layout of tpm2_pcrread."""
    banks = call(names.PCRS, name)["banks"]
    if bank is not None and banks and bank not in banks:
        raise click.BadParameter(f"{name} has {', '.join(banks)}", param_hint="--bank")
    chosen = {
        algorithm: {
            index: digest
            for index, digest in digests.items()
            if not indices or int(index) in indices
        }
        for algorithm, digests in banks.items()
        if bank in (None, algorithm)
    }
    if as_json:
        show_json({"banks": chosen})
    elif not banks:
        click.echo(f"The TPM of {name} is off: it has no PCR values.")
    for algorithm, digests in chosen.items() if not as_json else ():
        click.echo(f"{algorithm}:")
        for index, digest in digests.items():
            click.echo(f"  {index:<2}: 0x{digest.upper()}")
