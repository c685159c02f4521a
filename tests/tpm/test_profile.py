"""The default profile, and the sets that follow from any profile."""

import os
import struct
from dataclasses import FrozenInstanceError, replace

import pytest

from tests.tpm import areas
from tests.tpm.areas import words
from tests.tpm.harness import EnginePeer, HostClock, Password, Tester, sized
from tests.tpm.seeded_keys import signed
from vtpmd.tpm.command import COMMANDS, find
from vtpmd.tpm.engine import Engine
from vtpmd.tpm.profile import FIRST_VERSION, PROFILES, Profile, named
from vtpmd.tpm.rc import RC
from vtpmd.tpm.snapshot import StateError
from vtpmd.tpm.wire.attributes import TPMA_CC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, MLDSA_PARMS, MLKEM_PARMS, RH, ST
from vtpmd.tpm.wire.structure import AllowedSets

DEFAULT = PROFILES["default-v1"]
FIPS_HASHES = {ALG.SHA256, ALG.SHA384, ALG.SHA512}
APPROVED = {
    *FIPS_HASHES,
    *(ALG.RSA, ALG.ECC, ALG.KEYEDHASH, ALG.SYMCIPHER, ALG.HMAC, ALG.CMAC, ALG.MGF1),
    *(ALG.RSASSA, ALG.RSAPSS, ALG.OAEP, ALG.ECDSA, ALG.ECDH),
    *(ALG.KDF1_SP800_56A, ALG.KDF1_SP800_108),
    *(ALG.AES, ALG.CTR, ALG.OFB, ALG.CBC, ALG.CFB, ALG.ECB),
}
"""What SP 800-131A (revision 2) approves of what is implemented, and what it needs around it."""


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
    assert DEFAULT.hash_algs == DEFAULT.pcr_banks == {ALG.SHA1, *FIPS_HASHES}
    assert find(CC.GET_RANDOM, DEFAULT)


def test_sha3_is_in_a_profile_of_its_own() -> None:
    """Fapi_GetInfo of tpm2-tss fails on a TPM that reports an algorithm it has no name for."""
    more = PROFILES["sha3-v1"].algorithms - DEFAULT.algorithms
    assert more == {ALG.SHA3_256, ALG.SHA3_384, ALG.SHA3_512}
    assert PROFILES["sha3-v1"].hash_algs == DEFAULT.hash_algs | more


def test_pqc_has_what_version_185_brought() -> None:
    profile = PROFILES["pqc-v1"]
    more = profile.algorithms - DEFAULT.algorithms
    assert more == {
        *(ALG.MLKEM, ALG.MLDSA, ALG.HASH_MLDSA, ALG.HKDF),
        *(ALG.EDDSA, ALG.HASH_EDDSA),
    }
    curves = {ECC_CURVE.CURVE_25519, ECC_CURVE.CURVE_448}
    assert profile.ecc_curves == DEFAULT.ecc_curves | curves
    assert profile.mlkem_parms == {MLKEM_PARMS.MLKEM_768, MLKEM_PARMS.MLKEM_1024}
    assert profile.mldsa_parms == set(MLDSA_PARMS)
    assert DEFAULT.mlkem_parms == DEFAULT.mldsa_parms == frozenset()
    newer = {
        CC.VERIFY_SEQUENCE_COMPLETE,
        CC.SIGN_SEQUENCE_COMPLETE,
        CC.VERIFY_DIGEST_SIGNATURE,
        CC.SIGN_DIGEST,
        CC.ENCAPSULATE,
        CC.DECAPSULATE,
        CC.VERIFY_SEQUENCE_START,
        CC.SIGN_SEQUENCE_START,
    }
    assert {code for code in COMMANDS if find(code, profile) != find(code, DEFAULT)} == newer


def test_limits_follow_the_largest_keys() -> None:
    """Only of profiles that have such keys: others refuse what they refused before."""
    profile = PROFILES["pqc-v1"]
    limits = (profile.max_encrypted_secret_size, profile.max_public_size)
    assert limits == (1568, 604 - 512 + 2592)
    assert profile.within(4096).max_public_size == 604 - 512 + 1952
    assert (DEFAULT.max_encrypted_secret_size, DEFAULT.max_public_size) == (512, 604)
    assert (DEFAULT.max_context_size, DEFAULT.max_context_data_size) == (2680, 2748)
    assert profile.max_context_data_size - profile.max_context_size == 68


def test_parameter_sets_can_be_left_out() -> None:
    one = named("pqc-v1 without MLKEM_1024 MLDSA_65 MLDSA_87")
    assert one.mlkem_parms == {MLKEM_PARMS.MLKEM_768}
    assert one.mldsa_parms == {MLDSA_PARMS.MLDSA_44}
    assert one.max_encrypted_secret_size == 1088
    assert one.max_public_size == 604 - 512 + 1312
    none = named("pqc-v1 without MLKEM MLDSA HASH_MLDSA")
    assert none.mlkem_parms == none.mldsa_parms == frozenset()
    assert named("pqc-v1 without MLDSA").mldsa_parms == PROFILES["pqc-v1"].mldsa_parms


def test_a_large_parameter_set_needs_a_large_buffer() -> None:
    profile = PROFILES["pqc-v1"]
    assert profile.buffer_sizes == (3968, 8192)
    small = profile.within(8191)
    assert small.mldsa_parms == {MLDSA_PARMS.MLDSA_44, MLDSA_PARMS.MLDSA_65}
    assert replace(small, mldsa_parms=profile.mldsa_parms) == profile
    assert profile.within(8192) is profile
    assert named("pqc-v1 without MLDSA_87").buffer_sizes == (3968, 4096)
    assert named("pqc-v1 without MLDSA HASH_MLDSA").buffer_sizes == DEFAULT.buffer_sizes
    assert DEFAULT.buffer_sizes == (2808, 4096)
    assert DEFAULT.within(2808) is DEFAULT


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
        without_commands=frozenset({CC.GET_RANDOM}),
    )
    assert small.symmetric_algs == small.block_ciphers == {ALG.AES}
    assert set(small.symmetric_key_bits) == {ALG.AES}
    assert small.symmetric_modes == {ALG.CFB, ALG.CMAC}
    assert small.cipher_modes == {ALG.CFB}
    assert small.mac_schemes == {ALG.SHA256, ALG.CMAC}
    assert small.sig_schemes == small.rsa_schemes == {ALG.RSASSA}
    assert small.rsa_decrypt_schemes == small.ecc_schemes == small.kdfs == frozenset()
    assert small.object_types == small.asym_algs == {ALG.RSA}
    assert find(CC.STARTUP, small)
    assert not find(CC.GET_RANDOM, small)


def test_a_profile_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        DEFAULT.name = "other"  # type: ignore[misc]


def tpm_of(profile: str, banks: tuple[str, ...] = ("sha256",)) -> Tester:
    """A TPM of a profile, started; from its stored state, so that the profile is in it."""
    made = Engine.manufacture(profile, banks, os.urandom, HostClock())
    tester = Tester(EnginePeer.restored(made.permanent()))
    assert tester.startup() == 0
    return tester


def reported(tester: Tester, capability: int, size: int) -> list[int]:
    """What GetCapability lists, the numbers at the beginning of every element."""
    params = struct.pack(">III", capability, 0, 0xFFFF)
    listed = tester.run(CC.GET_CAPABILITY, params=params).parameters[9:]
    width = min(size, 4) if capability == CAP.COMMANDS else 2
    return [int.from_bytes(listed[at : at + width]) for at in range(0, len(listed), size)]


FIPS_LACKS: dict[int, tuple[int, bytes]] = {
    ALG.SHA1: (RC.SCHEME, words(ALG.KEYEDHASH, ALG.HMAC, ALG.SHA1)),
    ALG.CAMELLIA: (RC.SYMMETRIC, words(ALG.SYMCIPHER, ALG.CAMELLIA, 128, ALG.CFB)),
    ALG.ECDAA: (RC.SCHEME, words(ALG.ECC, ALG.NULL, ALG.ECDAA, ALG.SHA256, 0, 3, ALG.NULL)),
    ALG.ECSCHNORR: (RC.SCHEME, words(ALG.ECC, ALG.NULL, ALG.ECSCHNORR, ALG.SHA256, 3, ALG.NULL)),
    ALG.RSAES: (RC.VALUE, words(ALG.RSA, ALG.NULL, ALG.RSAES, 2048, 0, 0)),
}


def test_fips_has_what_is_approved_and_nothing_else() -> None:
    """In what it reports, in what it unmarshals, in the commands that it knows."""
    tester = tpm_of("fips-v1")
    algorithms = reported(tester, CAP.ALGS, 6)
    for alg, (_, parameters) in FIPS_LACKS.items():
        assert alg not in algorithms
        assert tester.run(CC.TEST_PARMS, params=parameters).rc != 0
        assert tpm_of("default-v1").run(CC.TEST_PARMS, params=parameters).rc == 0
    assert set(algorithms) == APPROVED
    banks = tester.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.PCRS, 0, 1)).parameters
    assert words(ALG.SHA1) + b"\3" not in banks
    commands = {
        code & (TPMA_CC.COMMAND_INDEX | TPMA_CC.V) for code in reported(tester, CAP.COMMANDS, 4)
    }
    newer = {code for code, spec in COMMANDS.items() if spec.version > FIRST_VERSION}
    assert commands == set(COMMANDS) - {CC.COMMIT, CC.ECC_ENCRYPT, CC.ECC_DECRYPT} - newer
    assert tester.run(CC.COMMIT).rc == RC.COMMAND_CODE


def test_the_newer_algorithms_with_approved_ones_only() -> None:
    """FIPS 203 and 204, EdDSA of FIPS 186-5 and HKDF of SP 800-56C, by restriction."""
    classic = "SHA1 CAMELLIA XOR ECDAA ECSCHNORR RSAES KDF2 CC_COMMIT CC_ECC_ENCRYPT CC_ECC_DECRYPT"
    restricted, fips = named(f"pqc-v1 without {classic}"), PROFILES["fips-v1"]
    assert restricted.algorithms - fips.algorithms == PROFILES["pqc-v1"].algorithms - (
        DEFAULT.algorithms
    )
    assert restricted.algorithms >= fips.algorithms
    assert restricted.without_commands == fips.without_commands
    tester = tpm_of(restricted.name)
    key = areas.loaded_primary(tester, areas.mldsa(areas.OWN | areas.SIGN | areas.NO_DA))
    assert signed(tester, key, b"message")[:2] == words(ALG.MLDSA)


def test_sha1_serves_for_nothing_in_fips() -> None:
    """No keys named or signing with it, no policies, no sessions, no digests."""
    tester = tpm_of("fips-v1")
    with_sha1 = words(ALG.ECDSA, ALG.SHA1)
    signing = areas.ecc(areas.OWN | areas.SIGN, scheme=with_sha1)
    assert areas.create_primary(tester, signing).rc == RC.HASH | 0x240
    named_by_sha1 = areas.ecc(areas.OWN | areas.SIGN, alg=ALG.SHA1)
    assert areas.create_primary(tester, named_by_sha1).rc == RC.HASH | 0x240
    key = areas.loaded_primary(tester, areas.ecc(areas.OWN | areas.SIGN))
    no_ticket = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
    params = sized(bytes(20)) + with_sha1 + no_ticket
    assert tester.run(CC.SIGN, [key], params, [Password()]).rc == RC.HASH | 0x240
    params = sized(bytes(16)) + words(0) + b"\0" + areas.NONE + words(ALG.SHA1)
    started = tester.run(CC.START_AUTH_SESSION, [RH.NULL, RH.NULL], params)
    assert started.rc == RC.HASH | 0x540
    params = sized(b"") + words(ALG.SHA1) + RH.NULL.to_bytes(4)
    assert tester.run(CC.HASH, params=params).rc == RC.HASH | 0x240
    params = sized(bytes(20)) + words(ALG.SHA1)
    policy = tester.run(CC.SET_PRIMARY_POLICY, [RH.OWNER], params, [Password()])
    assert policy.rc == RC.HASH | 0x240


RESTRICTED = "default-v1 without CC_CLEAR NIST_P521 RSA-4096 SHA1"


def test_restrictions_are_kept_in_the_state_and_told() -> None:
    tester = tpm_of(RESTRICTED)
    assert isinstance(tester.peer, EnginePeer)
    assert tester.peer.engine.profile.name == RESTRICTED
    tester.peer.carry_over()
    assert tester.peer.engine.profile.name == RESTRICTED
    assert ALG.SHA1 not in reported(tester, CAP.ALGS, 6)
    assert reported(tester, CAP.ECC_CURVES, 2) == [ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384]
    for bits, rc in ((2048, 0), (3072, 0), (4096, RC.VALUE | 0x140)):
        params = words(ALG.RSA, ALG.NULL, ALG.NULL, bits, 0, 0)
        assert tester.run(CC.TEST_PARMS, params=params).rc == rc
    params = words(ALG.ECC, ALG.NULL, ALG.NULL, ECC_CURVE.NIST_P521, ALG.NULL)
    assert tester.run(CC.TEST_PARMS, params=params).rc == RC.CURVE | 0x140
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == RC.COMMAND_CODE
    assert CC.CLEAR not in {code & 0xFFFF for code in reported(tester, CAP.COMMANDS, 4)}


def test_order_and_repetition_of_restrictions_say_nothing() -> None:
    assert named("default-v1 without SHA1 RSA-4096 SHA1").name == "default-v1 without RSA-4096 SHA1"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other", "unknown profile 'other': there are default-v1"),
        ("default-v1 without MD5", "has no such thing"),
        ("default-v1 without SHA256", "needs it"),
        ("default-v1 without RSA-2048", "needs it"),
        ("default-v1 without CC_STARTUP", "needs it"),
        ("fips-v1 without SHA1", "has no such thing"),
        ("default-v1 without SHA1 without RSAES", "has no such thing"),
    ],
)
def test_what_cannot_be_left_out(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        named(name)


@pytest.mark.parametrize(
    ("profile", "bank"),
    [("fips-v1", "sha1"), ("default-v1 without SHA1", "sha1"), ("sha3-v1", "sha3-256")],
)
def test_banks_that_a_profile_does_not_have(profile: str, bank: str) -> None:
    with pytest.raises(ValueError, match="PCR banks are chosen from"):
        Engine.manufacture(profile, ["sha256", bank], os.urandom, HostClock())


def test_a_state_of_an_unknown_profile_is_left_alone() -> None:
    stored = Engine.manufacture(RESTRICTED, ["sha256"], os.urandom, HostClock()).permanent()
    newer = stored.replace(b"RSA-4096", b"RSA-8192")
    with pytest.raises(StateError) as refused:
        Engine.restore(newer, os.urandom, HostClock())
    assert refused.value.kind == "newer"
