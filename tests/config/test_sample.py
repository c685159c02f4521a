"""The examples in the sample configuration are examples of what is accepted."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vtpmd.config.loader import parse
from vtpmd.config.schema import Configuration
from vtpmd.kms.registry import BUILT_IN_TYPES
from vtpmd.kms.settings import ProviderSettings

SAMPLE = (Path(__file__).parents[2] / "config" / "vtpmd.yaml").read_text()
# What the comments beside these values say to be no default.
NO_DEFAULTS = {
    "local": {"require_backup"},
    "pkcs11": {"mechanism", "environment"},
    "aws-kms": {"key_name"},
}


@cache
def providers() -> dict[str, ProviderSettings]:
    """The example of each type of key provider, by the type."""
    text = re.sub(r"(?m)^#(?=  (  |- type:))", "", SAMPLE)
    return {each.type: each for each in parse(text.encode(), "sample").key_providers}


def test_every_built_in_type_has_an_example(tmp_path: Path) -> None:
    assert sorted(providers()) == sorted(BUILT_IN_TYPES)
    for kind, settings in providers().items():
        provider = settings.open(tmp_path)
        assert (provider.name, provider.type) == (settings.name, kind)


@pytest.mark.parametrize("kind", BUILT_IN_TYPES)
def test_an_example_shows_the_defaults_but_where_it_says_otherwise(kind: str) -> None:
    settings = providers()[kind]
    fields = type(settings).model_fields.items()
    defaults = {name: field.get_default() for name, field in fields if not field.is_required()}
    shown: dict[str, Any] = {name: getattr(settings, name) for name in settings.model_fields_set}
    other = {name for name in shown if name in defaults and shown[name] != defaults[name]}
    assert other == NO_DEFAULTS.get(kind, set())


@pytest.mark.parametrize("kind", BUILT_IN_TYPES)
def test_every_setting_of_a_provider_is_named(kind: str) -> None:
    (section,) = re.findall(rf"(?ms)^# Type {kind}: .*?(?=^# Type |^\S*$)", SAMPLE)
    named = set(re.findall(r"\w+", section))
    own = set(type(providers()[kind]).model_fields) - set(ProviderSettings.model_fields)
    assert own <= named


def test_every_section_is_shown() -> None:
    assert set(Configuration.model_fields) == set(re.findall(r"(?m)^(\w+):", SAMPLE))
