"""The examples in the sample configuration are examples of what is accepted."""

import re
from pathlib import Path

from vtpmd.config.loader import parse
from vtpmd.config.schema import PROVIDER_KINDS
from vtpmd.kms.registry import build

SAMPLE = Path(__file__).parents[2] / "config" / "vtpmd.yaml"


def test_every_example_of_a_provider_is_accepted(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?=  (  |- type:))", "", SAMPLE.read_text())
    providers = parse(text.encode(), "sample").key_providers
    assert sorted(provider.type for provider in providers) == sorted(PROVIDER_KINDS)
    built = build({each.name: each.settings() for each in providers}, tmp_path)
    assert [(name, each.type) for name, each in built.items()] == [
        (each.name, each.type) for each in providers
    ]
