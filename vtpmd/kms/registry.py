"""From the configuration to key providers: built-in types and the entry points of others.

A third-party package declares, for a provider type ``acme``::

    [project.entry-points."vtpmd.key_providers"]
    acme = "acme_vtpmd:provider"

where ``provider`` is a ``provider.ProviderFactory``.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from vtpmd.kms.provider import ConfigurationRefused, KeyProvider, ProviderFactory

GROUP = "vtpmd.key_providers"

_BUILT_IN = {
    "local": EntryPoint("local", "vtpmd.kms.local:from_settings", GROUP),
    "kmip": EntryPoint("kmip", "vtpmd.kms.kmip.provider:from_settings", GROUP),
    "vault": EntryPoint("vault", "vtpmd.kms.vault.provider:from_settings", GROUP),
    "pkcs11": EntryPoint("pkcs11", "vtpmd.kms.pkcs11.provider:from_settings", GROUP),
    "aws-kms": EntryPoint("aws-kms", "vtpmd.kms.aws_kms.factory:from_settings", GROUP),
}


def build(providers: Mapping[str, Mapping[str, Any]], state: Path) -> dict[str, KeyProvider]:
    """Make one provider per entry of ``providers`` (name → settings with ``type``).

    Raises ConfigurationRefused for an unknown type, one that cannot be loaded, or bad settings.
    """
    return {name: _build(name, settings, state) for name, settings in providers.items()}


def _build(name: str, settings: Mapping[str, Any], state: Path) -> KeyProvider:
    # What comes with vtpmd wins: no other package can put itself in its place.
    known = {point.name: point for point in entry_points(group=GROUP)} | _BUILT_IN
    kind = settings.get("type")
    if kind not in known:
        raise ConfigurationRefused(
            f"key provider {name}: there is no type {kind!r}; known are {', '.join(sorted(known))}"
        )
    try:
        factory: ProviderFactory = known[kind].load()
    except Exception as error:  # whatever a foreign package does when it is imported
        raise ConfigurationRefused(
            f"key provider {name}: cannot load type {kind!r} from {known[kind].value}: {error}"
        ) from error
    return factory(name, {key: settings[key] for key in settings if key != "type"}, state)
