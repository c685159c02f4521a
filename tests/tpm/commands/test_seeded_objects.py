"""ML-KEM and ML-DSA keys as objects: made, loaded, checked, and what is reported (Part 2, 12.2)."""

import struct

import pytest

from tests.tpm import areas
from tests.tpm.areas import (
    AES_128_CFB,
    DECRYPT,
    NO_DA,
    NONE,
    ORIGIN,
    OWN,
    SIGN,
    STORAGE,
    USER_AUTH,
    X509_SIGN,
    words,
)
from tests.tpm.harness import EnginePeer, Password, Result, Tester, kdfa, sized
from tests.tpm.seeded_keys import (
    SIGNERS,
    hash_mldsa_areas,
    kem_areas,
    kem_public,
    mldsa_areas,
    signed,
    signing_public,
)
from tests.tpm.wrapping import StorageKey, install
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, MLDSA_PARMS, MLKEM_PARMS, PT, RH

IN_PUBLIC = 0x240
TEMPLATES = {
    "MLKEM_768": areas.mlkem(OWN | DECRYPT | NO_DA),
    "MLKEM_1024": areas.mlkem(OWN | DECRYPT | NO_DA, parms=MLKEM_PARMS.MLKEM_1024),
    "MLKEM_768 storage": areas.mlkem(OWN | STORAGE | NO_DA, symmetric=AES_128_CFB),
    "MLDSA_44": areas.mldsa(OWN | SIGN | NO_DA),
    "MLDSA_65": areas.mldsa(OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_65),
    "MLDSA_44 with mu": areas.mldsa(OWN | SIGN | NO_DA, external_mu=True),
    "HASH_MLDSA_44": areas.hash_mldsa(OWN | SIGN | NO_DA),
    "HASH_MLDSA_65": areas.hash_mldsa(
        OWN | SIGN | NO_DA, parms=MLDSA_PARMS.MLDSA_65, hash_alg=ALG.SHA512
    ),
    "MLDSA_44 for certificates": areas.mldsa(OWN | SIGN | X509_SIGN | NO_DA),
}
every_template = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES.keys())
SIZES = {"MLKEM_768": 1184, "MLKEM_1024": 1568, "MLDSA_44": 1312, "MLDSA_65": 1952}


def size_of(name: str) -> int:
    """Octets of the public key of a template."""
    return next(size for kind, size in SIZES.items() if kind in name)


def key_pair_of(kind: int, parms: int, seed: bytes) -> bytes:
    """The public key that FIPS 203 or 204 makes of a seed."""
    return kem_public(parms, seed) if kind == ALG.MLKEM else signing_public(parms, seed)


@pytest.mark.parametrize("name", TEMPLATES)
def test_primary_objects_are_made_again(pqc: Tester, name: str) -> None:
    """Part 1, 24.6.3: by hierarchy, template and the caller's data."""
    template, found = TEMPLATES[name], []
    for data, changed in ((b"", template), (b"", template), (b"data", template), (b"", None)):
        unique = template[:-2] + sized(b"unique") if changed is None else template
        answer = areas.create_primary(pqc, unique, data=data)
        assert answer.rc == 0, hex(answer.rc)
        assert answer.handle is not None
        public = answer.sized(0)
        assert public[: len(template) - 2] == template[:-2]
        assert len(public) == len(template) + size_of(name)
        found.append(public)
        areas.flush(pqc, answer.handle)
    assert found[0] == found[1]
    assert len(set(found)) == 3
    platform = areas.create_primary(pqc, template, hierarchy=RH.PLATFORM)
    assert platform.sized(0) != found[0]
    pqc.reset()
    again = areas.create_primary(pqc, template)
    assert again.sized(0) == found[0]


@every_template
def test_keys_are_exported_as_their_seeds(pqc: Tester, template: bytes) -> None:
    """Part 1, 46.2 and 47.2: what the sensitive area holds makes the public key."""
    parent = StorageKey(areas.ORIGIN | areas.USER_AUTH | NO_DA)
    handle = install(pqc, parent)
    template = struct.pack(">I", int.from_bytes(template[4:8]) & ~areas.FIXED).join(
        (template[:4], template[8:])
    )
    answer = areas.create(pqc, handle, template, auth=b"auth")
    assert answer.rc == 0, hex(answer.rc)
    public = answer.sized(1)
    plain = Result(0, None, parent.unwrap(public, answer.sized(0))[2:])
    kind = int.from_bytes(public[:2])
    auth, seed_value, seed = plain.sized(0), plain.sized(1), plain.sized(2)
    assert auth == b"auth".ljust(32, b"\0")
    assert len(seed) == (64 if kind == ALG.MLKEM else 32)
    # Only parents have a seedValue (Part 1, 24.7.4).
    is_parent = int.from_bytes(public[4:8]) & STORAGE == STORAGE
    assert len(seed_value) == (32 if is_parent else 0)
    offset = 8 + 2 + (len(AES_128_CFB) if is_parent else 2 if kind == ALG.MLKEM else 0)
    parms = int.from_bytes(public[offset : offset + 2])
    made = key_pair_of(kind, parms, seed)
    assert public.endswith(sized(made))
    loaded = areas.load(pqc, handle, answer.sized(0), public)
    assert loaded.rc == 0, hex(loaded.rc)
    assert loaded.sized() == areas.name_of(public)


def test_names_and_qualified_names(pqc: Tester) -> None:
    created = areas.create_primary(pqc, TEMPLATES["MLDSA_65"])
    assert created.handle is not None
    read = pqc.run(CC.READ_PUBLIC, [created.handle])
    assert read.sized(0) == created.sized(0)
    assert read.sized(1) == areas.name_of(created.sized(0))


WRONG_ATTRIBUTES = {
    "KEM that signs": areas.mlkem(OWN | SIGN),
    "KEM for both": areas.mlkem(OWN | SIGN | DECRYPT),
    "KEM for neither": areas.mlkem(OWN),
    "MLDSA that decrypts": areas.mldsa(OWN | DECRYPT),
    "MLDSA for both": areas.mldsa(OWN | SIGN | DECRYPT),
    "MLDSA for neither": areas.mldsa(OWN),
    "MLDSA for storage": areas.mldsa(OWN | STORAGE),
    "HASH_MLDSA that decrypts": areas.hash_mldsa(OWN | DECRYPT),
    "HASH_MLDSA for both": areas.hash_mldsa(OWN | SIGN | DECRYPT),
    "KEM for certificates": areas.mlkem(OWN | DECRYPT | X509_SIGN),
    "data from the caller": areas.mldsa(OWN & ~ORIGIN | SIGN),
    "fixed to the TPM alone": areas.mldsa(OWN & ~areas.FIXED_PARENT | SIGN),
}


@pytest.mark.parametrize("template", WRONG_ATTRIBUTES.values(), ids=WRONG_ATTRIBUTES.keys())
def test_attributes_that_do_not_fit(pqc: Tester, template: bytes) -> None:
    """Part 2, table 233: ML-DSA signs, ML-KEM decrypts."""
    assert areas.create_primary(pqc, template).rc == RC.ATTRIBUTES | IN_PUBLIC


def test_the_symmetric_algorithm_of_a_kem(pqc: Tester) -> None:
    """Table 232: set for a restricted decryption key, TPM_ALG_NULL for others."""
    with_one = areas.mlkem(OWN | DECRYPT, symmetric=AES_128_CFB)
    assert areas.create_primary(pqc, with_one).rc == RC.SYMMETRIC | IN_PUBLIC
    without = areas.mlkem(OWN | STORAGE)
    assert areas.create_primary(pqc, without).rc == RC.SYMMETRIC | IN_PUBLIC


UNSUPPORTED = {
    "MLKEM_512": words(ALG.MLKEM) + NONE + words(1),
    "MLKEM 0": words(ALG.MLKEM) + NONE + words(0),
    "MLKEM 4": words(ALG.MLKEM) + NONE + words(4),
    "MLDSA 0": words(ALG.MLDSA, 0) + b"\0",
    "MLDSA 4": words(ALG.MLDSA, 4) + b"\0",
    "HASH_MLDSA 4": words(ALG.HASH_MLDSA, 4, ALG.SHA256),
}


@pytest.mark.parametrize("parameters", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_parameter_sets_that_are_not_there(pqc: Tester, parameters: bytes) -> None:
    """#TPM_RC_PARMS of tables 205 and 208, in templates and in TestParms."""
    assert pqc.run(CC.TEST_PARMS, params=parameters).rc == RC.PARMS | 0x140
    template = parameters[:2] + struct.pack(">HI", ALG.SHA256, OWN | SIGN) + sized(b"")
    template += parameters[2:] + sized(b"")
    assert areas.create_primary(pqc, template).rc == RC.PARMS | IN_PUBLIC


SUPPORTED = {
    "MLKEM_768": words(ALG.MLKEM) + NONE + words(2),
    "MLKEM_1024 for storage": words(ALG.MLKEM) + AES_128_CFB + words(3),
    "MLDSA_44": words(ALG.MLDSA, 1) + b"\0",
    "MLDSA_65 with mu": words(ALG.MLDSA, 2) + b"\1",
    "HASH_MLDSA_65": words(ALG.HASH_MLDSA, 2, ALG.SHA384),
}


@pytest.mark.parametrize("parameters", SUPPORTED.values(), ids=SUPPORTED.keys())
def test_parameters_that_are_there(pqc: Tester, parameters: bytes) -> None:
    assert pqc.run(CC.TEST_PARMS, params=parameters).rc == 0


def test_other_parameters_that_do_not_unmarshal(pqc: Tester) -> None:
    for parameters, code in (
        (words(ALG.MLDSA, 1) + b"\2", RC.VALUE),  # TPMI_YES_NO
        (words(ALG.HASH_MLDSA, 1) + NONE, RC.HASH),
        (words(ALG.HASH_MLDSA, 1, ALG.SHA3_256), RC.HASH),
        (words(ALG.MLKEM, ALG.SM4, 128, ALG.CFB, 2), RC.SYMMETRIC),
        (words(ALG.MLDSA), RC.INSUFFICIENT),
    ):
        assert pqc.run(CC.TEST_PARMS, params=parameters).rc == code | 0x140


def test_what_is_reported(pqc: Tester) -> None:
    """TPMA_ML_PARAMETER_SET (Part 2, 8.13), algorithms, and the size of contexts."""
    params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.ML_PARAMETER_SETS, 1)
    answer = pqc.run(CC.GET_CAPABILITY, params=params).parameters
    expected = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6
    assert answer[-8:] == struct.pack(">II", PT.ML_PARAMETER_SETS, expected)
    for alg, uses in (
        (ALG.MLKEM, 0x209),
        (ALG.MLDSA, 0x109),
        (ALG.HASH_MLDSA, 0x109),
        (ALG.HKDF, 0x404),
    ):
        params = struct.pack(">III", CAP.ALGS, alg, 1)
        answer = pqc.run(CC.GET_CAPABILITY, params=params).parameters
        assert answer[-6:] == struct.pack(">HI", alg, uses), ALG(alg).name


def test_the_default_profile_reports_nothing_of_it(tester: Tester) -> None:
    params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.ML_PARAMETER_SETS, 1)
    answer = tester.run(CC.GET_CAPABILITY, params=params).parameters
    assert answer[-4:] == bytes(4), "an empty list"
    params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.MAX_OBJECT_CONTEXT, 1)
    answer = tester.run(CC.GET_CAPABILITY, params=params).parameters
    assert answer[-4:] == (2680).to_bytes(4)


def external(tester: Tester, public: bytes, sensitive: bytes = b"") -> int:
    return areas.load_external(tester, public, sensitive).rc


KEYS = {"MLKEM": kem_areas(), "MLDSA": mldsa_areas(), "HASH_MLDSA": hash_mldsa_areas()}
every_key = pytest.mark.parametrize("pair", KEYS.values(), ids=KEYS.keys())


def with_unique(public: bytes, size: int, unique: bytes) -> bytes:
    """A public area with another public key."""
    return public[: -size - 2] + sized(unique)


@every_key
def test_public_areas_that_hold_no_public_key(pqc: Tester, pair: tuple[bytes, bytes]) -> None:
    public, sensitive = pair
    size = 1184 if int.from_bytes(public[:2]) == ALG.MLKEM else 1312
    unique = public[-size:]
    for wrong in (b"", unique[:-1], unique + b"\0"):
        changed = with_unique(public, size, wrong)
        assert external(pqc, changed) == RC.KEY | IN_PUBLIC
        assert external(pqc, changed, sensitive) == RC.KEY | IN_PUBLIC
    too_long = 1569 if int.from_bytes(public[:2]) == ALG.MLKEM else 2593
    assert external(pqc, with_unique(public, size, bytes(too_long))) == RC.SIZE | IN_PUBLIC


def test_an_encapsulation_key_beyond_the_modulus(pqc: Tester) -> None:
    """FIPS 203, 7.2."""
    public, _ = kem_areas()
    assert external(pqc, with_unique(public, 1184, b"\xff" * 1184)) == RC.KEY | IN_PUBLIC


@every_key
@pytest.mark.parametrize("alg", [ALG.SHA256, ALG.NULL])
def test_areas_that_do_not_belong_together(
    pqc: Tester, pair: tuple[bytes, bytes], alg: int
) -> None:
    """12.3: pairs are checked without a Name, too."""
    public, sensitive = pair
    public = public[:2] + words(alg) + public[4:]
    assert external(pqc, public, sensitive) == 0
    other = sensitive[:8] + bytes((sensitive[8] ^ 1,)) + sensitive[9:]
    assert external(pqc, public, other) == RC.BINDING


@every_key
@pytest.mark.parametrize("change", [-1, 1])
def test_seeds_of_another_size(pqc: Tester, pair: tuple[bytes, bytes], change: int) -> None:
    """Tables 207 and 211: "shall be"."""
    public, sensitive = pair
    seed = sensitive[8:]
    wrong = seed[:-1] if change < 0 else seed + b"\0"
    assert external(pqc, public, sensitive[:6] + sized(wrong)) == RC.SIZE | 0x140


def test_kinds_are_not_mixed_up(pqc: Tester) -> None:
    """12.3.2.4: sensitiveType is the type of the public area."""
    public, sensitive = mldsa_areas()
    other = words(ALG.HASH_MLDSA) + sensitive[2:]
    assert external(pqc, public, other) == RC.TYPE | 0x140


def test_objects_survive_saving_persistence_and_migration(pqc: Tester) -> None:
    template = TEMPLATES["MLDSA_65"]
    key = areas.loaded_primary(pqc, template)
    saved = pqc.run(CC.CONTEXT_SAVE, [key])
    assert saved.rc == 0
    assert len(saved.parameters) + 10 <= 3968, "the buffer of QEMU's CRB"
    persistent = 0x81000100
    params = persistent.to_bytes(4)
    assert pqc.run(CC.EVICT_CONTROL, [RH.OWNER, key], params, [Password()]).rc == 0
    areas.flush(pqc, key)
    loaded = pqc.run(CC.CONTEXT_LOAD, params=saved.parameters)
    assert loaded.handle is not None
    assert isinstance(pqc.peer, EnginePeer)
    pqc.peer.carry_over()
    signature = signed(pqc, loaded.handle, b"message")
    octets = Result(0, None, signature[2:]).sized()
    public = pqc.run(CC.READ_PUBLIC, [persistent]).sized()[-1952:]
    oracle = SIGNERS[MLDSA_PARMS.MLDSA_65]
    assert oracle.verify(public, b"message", octets, b"")
    pqc.reset()
    signature = signed(pqc, persistent, b"message")
    assert oracle.verify(public, b"message", Result(0, None, signature[2:]).sized(), b"")


def test_persistent_objects_count_for_what_they_take(pqc: Tester) -> None:
    """The state stays below what is reserved for it."""
    key = areas.loaded_primary(pqc, TEMPLATES["MLDSA_65"])
    before = len(states_of(pqc))
    params = (0x81000100).to_bytes(4)
    params_of = struct.pack(">III", CAP.TPM_PROPERTIES, PT.HR_PERSISTENT_AVAIL, 1)
    available = int.from_bytes(pqc.run(CC.GET_CAPABILITY, params=params_of).parameters[-4:])
    assert pqc.run(CC.EVICT_CONTROL, [RH.OWNER, key], params, [Password()]).rc == 0
    grown = len(states_of(pqc)) - before
    handles = pqc.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.HANDLES, 0x81 << 24, 99))
    held = int.from_bytes(handles.parameters[5:9])
    assert 128 * 1024 // (available + held) >= grown, "of an equal part of all the room"


def states_of(tester: Tester) -> bytes:
    assert isinstance(tester.peer, EnginePeer)
    return tester.peer.engine.permanent()


# Derivation (Part 1, clause 25)


@pytest.mark.parametrize(
    ("template", "size"),
    [
        (areas.mlkem(USER_AUTH | DECRYPT | NO_DA), 64),
        (areas.mldsa(USER_AUTH | SIGN | NO_DA), 32),
        (areas.hash_mldsa(USER_AUTH | SIGN | NO_DA), 32),
    ],
    ids=["MLKEM", "MLDSA", "HASH_MLDSA"],
)
def test_derived_objects(pqc: Tester, template: bytes, size: int) -> None:
    """The seed is the first of KDFa's octets (25.4.1)."""
    secret = bytes(range(32))
    scheme = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
    parent_template = areas.keyedhash(USER_AUTH | STORAGE | NO_DA, scheme=scheme)
    primary = areas.loaded_primary(pqc, areas.storage())
    parent = areas.loaded_child(pqc, primary, parent_template, data=secret)
    areas.flush(pqc, primary)
    attributes = int.from_bytes(template[4:8]) | areas.FIXED_PARENT
    template = template[:4] + attributes.to_bytes(4) + template[8:-2]
    template += sized(b"label") + sized(b"context")
    params = areas.sensitive_create() + sized(template)
    answer = pqc.run(CC.CREATE_LOADED, [parent], params, [Password()])
    assert answer.rc == 0, hex(answer.rc)
    stream = kdfa(ALG.SHA256, secret, b"label", b"context", b"", 8192)
    kind = int.from_bytes(template[:2])
    parms = MLKEM_PARMS.MLKEM_768 if kind == ALG.MLKEM else MLDSA_PARMS.MLDSA_44
    assert answer.sized(1).endswith(sized(key_pair_of(kind, parms, stream[:size])))
    again = pqc.run(CC.CREATE_LOADED, [parent], params, [Password()])
    assert again.sized(1) == answer.sized(1)
