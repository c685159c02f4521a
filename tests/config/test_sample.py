"""The examples in the sample configuration are examples of what is accepted."""

import re
from pathlib import Path

from vtpmd.config.loader import parse
from vtpmd.kms.registry import BUILT_IN_TYPES

SAMPLE = Path(__file__).parents[2] / "config" / "vtpmd.yaml"


def test_every_example_of_a_provider_is_accepted(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^#(?=  (  |- type:))", "", SAMPLE.read_text())
    providers = parse(text.encode(), "sample").key_providers
    assert sorted(each.type for each in providers) == sorted(BUILT_IN_TYPES)
    for each in providers:
        provider = each.open(tmp_path)
        assert (provider.name, provider.type) == (each.name, each.type)
