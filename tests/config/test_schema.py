"""The plain words of the configuration are those the engine knows."""

from typing import get_args

import pytest

from vtpmd.config.schema import Configuration, PcrBank, ProfileName
from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.wire.constants import ALG


def test_profiles_are_those_of_the_engine() -> None:
    assert get_args(ProfileName) == tuple(PROFILES)


def test_pcr_banks_are_those_that_any_profile_has() -> None:
    banks = {bank for profile in PROFILES.values() for bank in profile.pcr_banks}
    assert set(get_args(PcrBank)) == {ALG(bank).name.lower() for bank in banks}


def default_profile(profile: str) -> str:
    """The default profile of a configuration that sets it."""
    return Configuration.model_validate({"defaults": {"profile": profile}}).defaults.profile


@pytest.mark.parametrize("profile", ["fips-v1", "default-v1 without SHA1 RSA-4096 CC_CLEAR"])
def test_profiles_may_be_restricted(profile: str) -> None:
    assert default_profile(profile) == profile


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ("fips", "the profiles are default-v1, sha3-v1, fips-v1"),
        ("default-v1 without ", "restrictions look like"),
        ("default-v1 without sha1", "restrictions look like"),
        ("default-v1 without SHA1  RSA-4096", "restrictions look like"),
        ("default-v1 without SHA1 without RSAES", 'there is one "without"'),
    ],
)
def test_profiles_that_cannot_be(profile: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        default_profile(profile)


def test_the_admin_socket_is_in_the_runtime_directory() -> None:
    configuration = Configuration.model_validate({"runtime_dir": "/run/other"})
    assert str(configuration.admin_socket) == "/run/other/admin.sock"
