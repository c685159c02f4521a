"""The plain words of the configuration are those the engine knows."""

from typing import get_args

from vtpmd.config.schema import Configuration, PcrBank, Profile
from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.wire.constants import ALG


def test_profiles_are_those_of_the_engine() -> None:
    assert set(get_args(Profile)) == set(PROFILES)


def test_pcr_banks_are_those_of_every_profile() -> None:
    for profile in PROFILES.values():
        names = {ALG(bank).name.lower() for bank in profile.pcr_banks}
        assert set(get_args(PcrBank)) == names


def test_the_admin_socket_is_in_the_runtime_directory() -> None:
    configuration = Configuration.model_validate({"runtime_dir": "/run/other"})
    assert str(configuration.admin_socket) == "/run/other/admin.sock"
