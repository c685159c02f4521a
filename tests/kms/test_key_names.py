"""Names of versions are told from every other name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtpmd.kms.key_names import MAX_VERSIONS, version_of, versioned


@given(st.text(), st.integers(1, MAX_VERSIONS))
def test_a_version_is_read_from_its_name(base: str, version: int) -> None:
    assert version_of(versioned(base, version), base) == version


@given(st.text(min_size=1), st.text())
def test_what_is_read_is_what_would_be_written(name: str, base: str) -> None:
    version = version_of(name, base)
    assert version is None or versioned(base, version) == name


@pytest.mark.parametrize(
    "name",
    ["", "other", "key.1", "key.02", "key.0", "key.-2", "key.1001", "key2", "key.", "key..2",
     "key.²", "key.٢", "key.2.2", "xkey.2", "key." + "9" * 5000],
)  # fmt: skip
def test_other_names_are_of_no_version(name: str) -> None:
    assert version_of(name, "key") is None
