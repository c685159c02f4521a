"""From the settings of a provider to their checked form."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from vtpmd.config.schema import Provider
from vtpmd.kms.provider import ConfigurationRefused

Entry = TypeVar("Entry", bound=Provider)


def checked(entry: type[Entry], kind: str, name: str, settings: Mapping[str, Any]) -> Entry:
    """The settings of provider ``name`` as an ``entry`` of type ``kind``.

    Raises ConfigurationRefused with every reason, none of which repeats a value.
    """
    try:
        return entry.model_validate({"type": kind, "name": name, **settings})
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        where = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in faults)
        raise ConfigurationRefused(f"key provider {name}: {where}") from None
