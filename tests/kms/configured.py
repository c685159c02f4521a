"""Key providers as the configuration makes them, and what it says about wrong settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from vtpmd.config.loader import ConfigurationError, parse
from vtpmd.kms.provider import KeyProvider
from vtpmd.kms.registry import check

Provider = TypeVar("Provider", bound=KeyProvider)


def opened(expected: type[Provider], settings: Mapping[str, Any], state_dir: Path) -> Provider:
    """The provider with these settings, which is of the expected class."""
    provider = check(dict(settings)).open(state_dir)
    assert isinstance(provider, expected)
    return provider


def problems(settings: Mapping[str, Any]) -> list[str]:
    """What is said about a configuration with this one provider, from the path in it on."""
    text = yaml.safe_dump({"key_providers": [dict(settings)]}).encode()
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "file")
    return [
        problem.split("key_providers.0", 1)[1].lstrip(".: ") for problem in caught.value.problems
    ]
