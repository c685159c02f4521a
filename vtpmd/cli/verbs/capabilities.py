"""vtpmctl capabilities: what the daemon can do on this host."""

import json

import click

from vtpmd.api.schema import ProviderInfo

from ..output import client, json_option, provider_roles, show_fields, show_json


@click.command
@click.option(
    "--openapi", is_flag=True, help="Print the description of its HTTP interface (OpenAPI 3.1)."
)
@json_option
def command(openapi: bool, as_json: bool) -> None:
    """Show what the daemon can do on this host, and what it cannot do and why."""
    if openapi:
        show_json(json.loads(client().openapi()))
        return
    report = client().capabilities()
    if as_json:
        show_json(report.document)
        return
    fields = [
        ("version", report.version),
        ("create", report.create),
        ("profiles", ", ".join(report.profiles)),
        ("PCR banks", ", ".join(report.pcr_banks)),
        ("sandbox", report.sandbox),
    ]
    show_fields([*fields, *map(_provider_field, report.key_providers)])


def _provider_field(provider: ProviderInfo) -> tuple[str, str]:
    state = "available" if provider.available else f"unavailable: {provider.reason}"
    words = [f"type {provider.type}", *provider_roles(provider)]
    return f"key provider {provider.name}", f"{state} ({', '.join(words)})"
