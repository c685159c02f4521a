"""The default profile, and the sets that follow from any profile."""

from dataclasses import FrozenInstanceError, replace

import pytest

from vtpmd.tpm.profile import PROFILES, Profile
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE
from vtpmd.tpm.wire.structure import AllowedSets

DEFAULT = PROFILES["default-v1"]


def test_default_v1() -> None:
    assert DEFAULT.name == "default-v1"
    assert DEFAULT.rsa_key_bits == {2048, 3072, 4096}
    assert DEFAULT.ecc_curves == {
        ECC_CURVE.NIST_P256,
        ECC_CURVE.NIST_P384,
        ECC_CURVE.NIST_P521,
    }
    assert DEFAULT.symmetric_key_bits == {
        ALG.AES: {128, 192, 256},
        ALG.CAMELLIA: {128, 192, 256},
    }
    assert DEFAULT.hash_algs >= DEFAULT.pcr_banks
    assert DEFAULT.allows_command(CC.GET_RANDOM)


def test_sha3_is_in_a_profile_of_its_own() -> None:
    """Fapi_GetInfo of tpm2-tss fails on a TPM that reports an algorithm it has no name for."""
    more = PROFILES["sha3-v1"].algorithms - DEFAULT.algorithms
    assert more == {ALG.SHA3_256, ALG.SHA3_384, ALG.SHA3_512}
    assert PROFILES["sha3-v1"].hash_algs == DEFAULT.hash_algs | more


def test_profiles_are_filed_under_their_names() -> None:
    assert {name: profile.name for name, profile in PROFILES.items()} == {
        name: name for name in PROFILES
    }


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: str(profile.name))
def test_nothing_is_allowed_that_is_not_reported(profile: Profile) -> None:
    names = {name for name in vars(AllowedSets) if name.endswith(("algs", "schemes", "modes"))}
    names |= {"object_types", "block_ciphers", "kdfs", "ecc_key_exchanges"}
    for name in names:
        allowed = getattr(profile, name)
        assert allowed, name
        assert allowed <= profile.algorithms, name
        assert ALG.NULL not in allowed, name


def test_sets_follow_the_algorithms() -> None:
    small = replace(
        DEFAULT,
        algorithms=frozenset({ALG.AES, ALG.CFB, ALG.SHA256, ALG.RSA, ALG.RSASSA, ALG.CMAC}),
        commands=frozenset({CC.STARTUP}),
    )
    assert small.symmetric_algs == small.block_ciphers == {ALG.AES}
    assert set(small.symmetric_key_bits) == {ALG.AES}
    assert small.symmetric_modes == {ALG.CFB, ALG.CMAC}
    assert small.cipher_modes == {ALG.CFB}
    assert small.mac_schemes == {ALG.SHA256, ALG.CMAC}
    assert small.sig_schemes == small.rsa_schemes == {ALG.RSASSA}
    assert small.rsa_decrypt_schemes == small.ecc_schemes == small.kdfs == frozenset()
    assert small.object_types == small.asym_algs == {ALG.RSA}
    assert small.allows_command(CC.STARTUP)
    assert not small.allows_command(CC.GET_RANDOM)


def test_a_profile_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.name = "other"  # type: ignore[misc]
