"""vtpmctl capabilities: what the daemon can do on this host."""

import click

from vtpmd.api.schema import ProviderInfo

from ..output import client, json_option, provider_roles, show_fields, show_json


@click.command
@json_option
def command(as_json: bool) -> None:
    """Show what the daemon can do on this host, and what it cannot do and why."""
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
