"""How profiles and PCR banks are written; which there are, the engine knows."""

import pytest

from vtpmd.config.schema import Configuration


def default_profile(profile: str) -> str:
    """The default profile of a configuration that sets it."""
    return Configuration.model_validate({"defaults": {"profile": profile}}).defaults.profile


@pytest.mark.parametrize("profile", ["fips-v1", "default-v1 without SHA1 RSA-4096 CC_CLEAR"])
def test_profiles_may_be_restricted(profile: str) -> None:
    assert default_profile(profile) == profile


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ("FIPS", "profiles have names such as default-v1"),
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
