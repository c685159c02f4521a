"""vtpmctl capabilities: what the daemon can do on this host."""

import click

from vtpmd.api import names

from ..output import call, json_option, show_fields, show_json


@click.command
@json_option
def command(as_json: bool) -> None:
    """Show what the daemon can do on this host, and what it cannot do and why."""
    content = call(names.CAPABILITIES)
    if as_json:
        show_json(content)
        return
    fields = [
        ("version", content["version"]),
        ("create", content["create"]),
        ("profiles", ", ".join(content["profiles"])),
        ("PCR banks", ", ".join(content["pcr_banks"])),
        ("sandbox", content["sandbox"]),
    ]
    for provider in content["key_providers"]:
        state = "available" if provider["available"] else f"unavailable: {provider['reason']}"
        roles = [role for role in ("default", "recovery") if provider[role]]
        kind = f"type {provider['type']}"
        title = f"key provider {provider['name']}"
        fields.append((title, f"{state} ({', '.join([kind, *roles])})"))
    show_fields(fields)
