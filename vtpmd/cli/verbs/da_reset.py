"""vtpmctl da-reset: let a TPM out of lockout."""

import click

from vtpmd.api.schema import LockoutResult

from ..output import client, json_option, names_argument
from ..several import one_or_each


@click.command
@names_argument
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Forget the failed authorizations of a TPM, so that it is no longer in lockout.

    As TPM2_DictionaryAttackLockReset does, but without its lockoutAuth; also while it runs.
    """
    one_or_each(names, client().da_reset, line, "instances" if as_json else None)


def line(result: LockoutResult) -> str:
    """What became of one TPM."""
    if not (result.failed_tries or result.lockout):
        return f"{result.name}: no authorization had failed"
    was = " and it was in lockout" if result.lockout else ""
    then = "; it stays in lockout, as its owner permits no tries" if result.remains else ""
    return f"{result.name}: {result.failed_tries} failed tries are forgotten{was}{then}"
