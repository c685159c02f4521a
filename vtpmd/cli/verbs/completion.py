"""vtpmctl completion: what a shell needs to complete its command lines."""

import click
from click.shell_completion import get_completion_class

from ..output import json_option, show_json

PROGRAM = "vtpmctl"
VARIABLE = "_VTPMCTL_COMPLETE"
"""In which click is told what to complete; its name is click's choice."""
SHELLS = ("bash", "zsh", "fish")


@click.command
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
def command(shell: str, as_json: bool) -> None:
    """Print what bash, zsh or fish needs to complete verbs, options, names and files.

    \b
    bash: vtpmctl completion bash >/usr/share/bash-completion/completions/vtpmctl
    zsh:  vtpmctl completion zsh >/usr/share/zsh/vendor-completions/_vtpmctl
    fish: vtpmctl completion fish >/usr/share/fish/vendor_completions.d/vtpmctl.fish

    Names of instances, snapshots and key providers are those that the daemon knows at that moment.
    """
    text = script(shell)
    if as_json:
        show_json({"shell": shell, "script": text})
    else:
        click.echo(text)


def script(shell: str) -> str:
    """What a shell is to read. It asks vtpmctl itself, so it stays true when verbs change."""
    kind = get_completion_class(shell)
    assert kind is not None
    completion = kind(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    return completion.source_template % completion.source_vars()
