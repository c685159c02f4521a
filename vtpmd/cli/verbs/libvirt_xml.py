"""vtpmctl libvirt-xml: how libvirt connects to an instance."""

import click

from ..output import client, demand_printable, json_option, name_argument, say, show_json

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}


def element(control_socket: str, model: str) -> str:
    """The <tpm> element for a domain's <devices> (libvirt 9.0 or later)."""
    path = "".join(_ESCAPES.get(character, character) for character in control_socket)
    return (
        f"<tpm model='tpm-{model}'>\n"
        "  <backend type='external'>\n"
        f"    <source type='unix' mode='connect' path='{path}'/>\n"
        "  </backend>\n"
        "</tpm>"
    )


@click.command
@name_argument
@click.option(
    "--model", type=click.Choice(["crb", "tis"]), default="crb", show_default=True, help="Device."
)
@json_option
def command(name: str, model: str, as_json: bool) -> None:
    """Print the <tpm> element for a libvirt domain (libvirt 9.0 or later)."""
    path = client().info(name).control_socket
    xml = element(path, model)
    if as_json:
        show_json({"xml": xml})
        return
    demand_printable(path)
    for line in xml.splitlines():
        say(line)
