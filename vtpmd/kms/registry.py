"""Types of key providers: built in, or declared by the entry points of other packages.

A package declares a type `acme` like this:

    [project.entry-points."vtpmd.key_providers"]
    acme = "acme_vtpmd:AcmeSettings"

where `AcmeSettings` is a subclass of `settings.ProviderSettings`. `examples/key_provider` is such a
package. The built-in types are declared in the same way, but in a table.
"""

import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, TypeGuard

from pydantic import BeforeValidator, ConfigDict

from . import aws_kms, kmip, local, pkcs11, vault
from .settings import ProviderSettings, Section

GROUP = "vtpmd.key_providers"

_BUILT_IN = {
    package.TYPE: EntryPoint(package.TYPE, f"{package.__name__}.settings:{settings}", GROUP)
    for package, settings in (
        (local, "LocalSettings"),
        (kmip, "KmipSettings"),
        (vault, "VaultSettings"),
        (pkcs11, "Pkcs11Settings"),
        (aws_kms, "AwsKmsSettings"),
    )
}
BUILT_IN_TYPES = tuple(_BUILT_IN)


def check(entry: object) -> ProviderSettings:
    """Return the checked settings of one entry of `key_providers`, a mapping with `type`.

    Raises ValueError, as a pydantic.ValidationError if settings are wrong or the type is unknown
    or cannot be loaded.
    """
    if not isinstance(entry, dict):
        raise ValueError("a mapping with type and name is expected")
    return settings_of(entry).model_validate(entry)


def settings_of(entry: object) -> type[ProviderSettings]:
    """Which settings an entry of `key_providers` has, by its type. Raises ValueError."""
    return _Entry.model_validate(entry).type


def default() -> ProviderSettings:
    """Return the settings of the provider that is used when none is configured."""
    return check({"type": local.TYPE, "name": local.TYPE})


def _load(kind: object) -> type[ProviderSettings]:
    # Built-in types win: no other package can put itself in their place.
    known = {point.name: point for point in entry_points(group=GROUP)} | _BUILT_IN
    if not isinstance(kind, str) or kind not in known:
        raise ValueError(f"there is no type {kind!r}; known are {', '.join(sorted(known))}")
    try:
        loaded = known[kind].load()
    except Exception as error:  # whatever a foreign package does when it is imported
        raise ValueError(f"cannot load type {kind!r} from {known[kind].value}: {error}") from error
    if not _is_complete(loaded):
        raise ValueError(
            f"{known[kind].value} of type {kind!r} is not a subclass of ProviderSettings that can "
            "open a provider"
        )
    return loaded


def _is_complete(loaded: object) -> TypeGuard[type[ProviderSettings]]:
    return inspect.isclass(loaded) and (
        issubclass(loaded, ProviderSettings) and not inspect.isabstract(loaded)
    )


class _Entry(Section):
    """The type of an entry; the rest is for the settings of that type to check."""

    model_config = ConfigDict(extra="ignore")

    type: Annotated[type[ProviderSettings], BeforeValidator(_load)]
