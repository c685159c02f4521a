"""Every algorithm that a profile names works wherever a guest can ask for it.

One that a table of the engine lacks would be a guest's TPM in failure mode. So each hash, curve
and block cipher of each profile is walked through every use; oracles are hashlib, hmac and
`cryptography`, and the TPM itself for what it made.
"""

import hashlib
from dataclasses import replace

import pytest

from tests.guest import eventlog
from tests.tpm import areas, seeded_keys
from tests.tpm.areas import DECRYPT, NO_DA, NONE, OWN, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.commands.test_certify_x509 import certificate_of
from tests.tpm.crypto import library
from tests.tpm.harness import (
    CONTINUE,
    HASH_NAMES,
    EnginePeer,
    Tester,
    sized,
)
from tests.tpm.harness import (
    ENCRYPT as ENCRYPTING,
)
from tests.tpm.hash_walks import (
    HASH_WALKS,
    MESSAGE,
    derivation,
    done,
    in_pieces,
    loaded,
    profile_of,
    started,
)
from tests.tpm.known_keys import cipher_areas, ecc_areas, rsa_areas
from tests.tpm.wire import oracle
from vtpmd.tpm.core.properties import ALGORITHM_ATTRIBUTES
from vtpmd.tpm.crypto import mldsa, mlkem
from vtpmd.tpm.crypto.ecc import CURVES
from vtpmd.tpm.crypto.edwards import CURVES as EDWARDS
from vtpmd.tpm.crypto.hashes import HASHES
from vtpmd.tpm.crypto.montgomery import CURVES as MONTGOMERY
from vtpmd.tpm.crypto.symmetric import CIPHERS
from vtpmd.tpm.profile import PROFILES, Profile, check_implemented
from vtpmd.tpm.wire.constants import (
    ALG,
    CC,
    DIGEST_SIZES,
    ECC_CURVE,
    MLDSA_PARMS,
    MLKEM_PARMS,
    RH,
    SE,
)
from vtpmd.tpm.wire.limits import MAX_DIGEST_SIZE


@pytest.fixture(scope="module")
def stored() -> dict[str, bytes]:
    """A TPM of each profile with all of its banks."""
    found = {}
    for name, profile in PROFILES.items():
        banks = [HASH_NAMES[ALG(alg)] for alg in sorted(profile.pcr_banks)]
        found[name] = EnginePeer.manufactured(banks, profile=name).stored
    return found


@pytest.fixture
def tpm(stored: dict[str, bytes], profile: str) -> Tester:
    """A TPM of a profile after TPM2_Startup(CLEAR), with the largest buffer that it knows."""
    peer = EnginePeer.restored(stored[profile])
    peer.engine.buffer_size = peer.engine.buffer_sizes[1]
    tester = Tester(peer)
    assert tester.startup() == 0
    return tester


@pytest.mark.parametrize("walk", HASH_WALKS)
@pytest.mark.parametrize(
    ("profile", "alg"),
    [
        pytest.param(name, alg, id=f"{name}-{ALG(alg).name}")
        for name, profile in PROFILES.items()
        for alg in sorted(profile.hash_algs)
    ],
)
def test_hashes(tpm: Tester, alg: int, walk: str) -> None:
    HASH_WALKS[walk](tpm, alg)


@pytest.mark.parametrize(
    ("profile", "alg"),
    [
        pytest.param(name, alg, id=f"{name}-{ALG(alg).name}")
        for name, profile in PROFILES.items()
        if ALG.XOR in profile.algorithms
        for alg in sorted(profile.hash_algs)
    ],
)
def test_hashes_obfuscate_and_derive(tpm: Tester, alg: int) -> None:
    derivation(tpm, alg)
    session = replace(tpm.start_session(alg=alg, xor=True), attributes=CONTINUE | ENCRYPTING)
    answer = tpm.run(CC.GET_RANDOM, params=words(16), auths=[session])
    assert (answer.rc, len(answer.sized())) == (0, 16)


@pytest.mark.parametrize(
    ("profile", "curve"),
    [
        (name, curve)
        for name, profile in PROFILES.items()
        for curve in sorted(profile.ecc_curves & set(CURVES))
    ],
)
def test_curves(tpm: Tester, curve: int) -> None:
    done(tpm, CC.ECC_PARAMETERS, [], words(curve))
    made = areas.loaded_primary(tpm, areas.ecc(OWN | SIGN | DECRYPT | NO_DA, curve=curve))
    exchanged = done(tpm, CC.ECDH_KEY_GEN, [made]).parameters
    z, public = exchanged[: len(exchanged) // 2], exchanged[len(exchanged) // 2 :]
    assert done(tpm, CC.ECDH_ZGEN, [made], public, 1).parameters == z
    done(tpm, CC.EC_EPHEMERAL, [], words(curve))
    areas.flush(tpm, made)
    storage = areas.ecc(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB, curve=curve)
    parent = areas.loaded_primary(tpm, storage)
    credential = sized(MESSAGE) + sized(tpm.name(parent))
    done(tpm, CC.MAKE_CREDENTIAL, [parent], credential)
    areas.flush(tpm, parent)
    signer, subject = loaded(tpm, ecc_areas(SIGN, curve=curve)), loaded(tpm, rsa_areas(SIGN))
    certificate_of(tpm, signer, subject, words(ALG.ECDSA, ALG.SHA256))
    certificate_of(tpm, subject, signer, words(ALG.RSASSA, ALG.SHA256))


@pytest.mark.parametrize(
    ("profile", "curve"),
    [
        (name, curve)
        for name, profile in PROFILES.items()
        for curve in sorted(profile.ecc_curves & set(MONTGOMERY))
    ],
)
def test_curves_of_octets(tpm: Tester, curve: int) -> None:
    done(tpm, CC.ECC_PARAMETERS, [], words(curve))
    template = areas.ecc(OWN | DECRYPT | NO_DA, scheme=words(ALG.ECDH, ALG.SHA256), curve=curve)
    made = areas.loaded_primary(tpm, template)
    exchanged = done(tpm, CC.ECDH_KEY_GEN, [made]).parameters
    z, public = exchanged[: len(exchanged) // 2], exchanged[len(exchanged) // 2 :]
    assert done(tpm, CC.ECDH_ZGEN, [made], public, 1).parameters == z
    areas.flush(tpm, made)
    for scheme in (ALG.EDDSA, ALG.HASH_EDDSA):
        signing = areas.ecc(OWN | SIGN | NO_DA, scheme=words(scheme), curve=curve)
        made = areas.loaded_primary(tpm, signing)
        assert seeded_keys.signed(tpm, made, MESSAGE)[:2] == words(scheme)
        areas.flush(tpm, made)


@pytest.mark.parametrize(
    ("profile", "cipher", "bits"),
    [
        (name, cipher, bits)
        for name, profile in PROFILES.items()
        for cipher, sizes in sorted(profile.symmetric_key_bits.items())
        for bits in sorted(sizes)
    ],
)
def test_block_ciphers(tpm: Tester, cipher: int, bits: int) -> None:
    key = bytes(bits // 8)
    for mode in sorted(profile_of(tpm).cipher_modes):
        handle = loaded(tpm, cipher_areas(SIGN | DECRYPT, mode, key, cipher))
        iv = sized(b"" if mode == ALG.ECB else bytes(16))
        made = done(tpm, CC.ENCRYPT_DECRYPT2, [handle], sized(bytes(32)) + b"\0" + NONE + iv, 1)
        params = sized(made.sized()) + b"\1" + NONE + iv
        assert done(tpm, CC.ENCRYPT_DECRYPT2, [handle], params, 1).sized() == bytes(32)
        areas.flush(tpm, handle)
    handle = loaded(tpm, cipher_areas(SIGN, ALG.CMAC, key, cipher))
    expected = done(tpm, CC.MAC, [handle], sized(MESSAGE) + NONE, 1).sized()
    sequence = started(tpm, CC.MAC_START, [handle], NONE)
    assert in_pieces(tpm, sequence, (MESSAGE[:3], MESSAGE[3:])) == expected
    areas.flush(tpm, handle)
    symmetric = words(cipher, bits, ALG.CFB)
    parent = areas.loaded_primary(tpm, areas.ecc(OWN | STORAGE | NO_DA, symmetric=symmetric))
    areas.loaded_child(tpm, parent, areas.keyedhash(USER_AUTH | NO_DA), data=MESSAGE)
    nonce = sized(bytes(16)) + sized(b"") + bytes((SE.HMAC,)) + symmetric + words(ALG.SHA256)
    done(tpm, CC.START_AUTH_SESSION, [RH.NULL, RH.NULL], nonce)


@pytest.mark.parametrize(
    ("profile", "parms"),
    [
        pytest.param(name, parms, id=f"{name}-{MLKEM_PARMS(parms).name}")
        for name, profile in PROFILES.items()
        for parms in sorted(profile.mlkem_parms)
    ],
)
def test_kem_parameter_sets(tpm: Tester, parms: int) -> None:
    key = areas.loaded_primary(tpm, areas.mlkem(OWN | DECRYPT | NO_DA, parms=parms))
    made = done(tpm, CC.ENCAPSULATE, [key])
    opened = done(tpm, CC.DECAPSULATE, [key], sized(made.sized(1)), 1)
    assert opened.sized() == made.sized(0)
    areas.flush(tpm, key)
    template = areas.mlkem(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB, parms=parms)
    parent = areas.loaded_primary(tpm, template)
    areas.loaded_child(tpm, parent, areas.keyedhash(USER_AUTH | NO_DA), data=MESSAGE)
    done(tpm, CC.MAKE_CREDENTIAL, [parent], sized(MESSAGE) + sized(tpm.name(parent)))


@pytest.mark.parametrize(
    ("profile", "parms"),
    [
        pytest.param(name, parms, id=f"{name}-{MLDSA_PARMS(parms).name}")
        for name, profile in PROFILES.items()
        for parms in sorted(profile.mldsa_parms)
    ],
)
def test_signing_parameter_sets(tpm: Tester, parms: int) -> None:
    templates = [areas.mldsa(OWN | SIGN | NO_DA, parms=parms)]
    templates += [
        areas.hash_mldsa(OWN | SIGN | NO_DA, parms=parms, hash_alg=alg)
        for alg in sorted(profile_of(tpm).hash_algs)
    ]
    for template in templates:
        key = areas.loaded_primary(tpm, template)
        signature = seeded_keys.signed(tpm, key, MESSAGE, b"context")
        verified = seeded_keys.verified(tpm, key, MESSAGE, signature, b"context")
        assert verified.rc == 0, hex(verified.rc)
        areas.flush(tpm, key)


@pytest.mark.parametrize("name", PROFILES)
def test_every_table_has_what_profiles_name(name: str) -> None:
    profile = PROFILES[name]
    assert profile.algorithms <= set(ALGORITHM_ATTRIBUTES)
    assert profile.hash_algs <= set(HASHES)
    assert profile.hash_algs <= set(HASH_NAMES), "the walks need its name"
    assert profile.hash_algs <= set(oracle.DIGEST_SIZES)
    assert profile.pcr_banks <= set(eventlog.ALGORITHMS)
    assert profile.ecc_curves <= {*CURVES, *MONTGOMERY}
    assert profile.block_ciphers <= set(CIPHERS)
    assert profile.mlkem_parms <= set(mlkem.PARAMETER_SETS)
    assert profile.mldsa_parms <= set(mldsa.PARAMETER_SETS)


def test_every_row_is_in_a_profile() -> None:
    """What no TPM has is tried by no walk."""
    profiles = PROFILES.values()
    assert set(HASHES) == {alg for profile in profiles for alg in profile.hash_algs}
    assert {*CURVES, *MONTGOMERY} == {curve for found in profiles for curve in found.ecc_curves}
    assert set(MONTGOMERY) == set(EDWARDS)
    assert set(CIPHERS) == {alg for profile in profiles for alg in profile.block_ciphers}
    assert set(mlkem.PARAMETER_SETS) == {n for profile in profiles for n in profile.mlkem_parms}
    assert set(mldsa.PARAMETER_SETS) == {n for profile in profiles for n in profile.mldsa_parms}


@pytest.mark.parametrize("alg", HASHES)
def test_rows_of_hashes_agree_with_others(alg: int) -> None:
    row, oracle = HASHES[alg], hashlib.new(HASH_NAMES[ALG(alg)])
    assert (row.digest_size, row.block_size) == (oracle.digest_size, oracle.block_size)
    assert row.library is type(library.HASHES[alg])
    assert row.name == HASH_NAMES[ALG(alg)]
    assert DIGEST_SIZES[alg] == oracle.digest_size <= MAX_DIGEST_SIZE


DEFAULT = PROFILES["default-v1"]


@pytest.mark.parametrize(
    "beyond",
    [
        replace(DEFAULT, ecc_curves=DEFAULT.ecc_curves | {ECC_CURVE.BN_P256}),
        replace(DEFAULT, pcr_banks=DEFAULT.pcr_banks | {ALG.SM3_256}),
        replace(DEFAULT, key_bits={**DEFAULT.key_bits, ALG.AES: frozenset({128, 512})}),
        replace(DEFAULT, key_bits={**DEFAULT.key_bits, ALG.SM4: frozenset({128})}),
        replace(DEFAULT, mlkem_parms=frozenset({MLKEM_PARMS.MLKEM_512})),
        replace(DEFAULT, mldsa_parms=frozenset({4})),
    ],
    ids=["curve", "bank", "size", "cipher", "ML-KEM", "ML-DSA"],
)
def test_a_profile_beyond_the_tables_cannot_be_imported(beyond: Profile) -> None:
    with pytest.raises(ImportError, match="is not there"):
        check_implemented(beyond)
