"""Public areas and other parameters of object commands as octets, written down by hand.

Nothing here uses the engine's structures, so that both sides of a comparison get what the
specification says and not what the engine takes it for.
"""

import struct

from tests.tpm.harness import Password, Result, Tester, digest, sized
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, MLDSA_PARMS, MLKEM_PARMS, RH

FIXED_TPM, ST_CLEAR, FIXED_PARENT = 1 << 1, 1 << 2, 1 << 4
ORIGIN, USER_AUTH, ADMIN_POLICY = 1 << 5, 1 << 6, 1 << 7
NO_DA, ENCRYPTED_DUPLICATION = 1 << 10, 1 << 11
RESTRICTED, DECRYPT, SIGN, X509_SIGN = 1 << 16, 1 << 17, 1 << 18, 1 << 19
FIXED = FIXED_TPM | FIXED_PARENT
STORAGE = RESTRICTED | DECRYPT
OWN = FIXED | ORIGIN | USER_AUTH
"""Attributes of a key that never leaves."""
MOVABLE = ORIGIN | USER_AUTH
"""Attributes of a key that can be duplicated."""
NONE = ALG.NULL.to_bytes(2)


def words(*values: int) -> bytes:
    """16-bit numbers."""
    return b"".join(value.to_bytes(2) for value in values)


AES_128_CFB = words(ALG.AES, 128, ALG.CFB)


def _public(kind: int, alg: int, attributes: int, policy: bytes, rest: bytes) -> bytes:
    return struct.pack(">HHI", kind, alg, attributes) + sized(policy) + rest


def rsa(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    symmetric: bytes = NONE,
    scheme: bytes = NONE,
    bits: int = 2048,
    exponent: int = 0,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of an RSA key."""
    rest = symmetric + scheme + struct.pack(">HI", bits, exponent) + sized(unique)
    return _public(ALG.RSA, alg, attributes, policy, rest)


def ecc(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    symmetric: bytes = NONE,
    scheme: bytes = NONE,
    curve: int = ECC_CURVE.NIST_P256,
    kdf: bytes = NONE,
    x: bytes = b"",
    y: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of an ECC key, or its template with label `x` and context `y`."""
    rest = symmetric + scheme + words(curve) + kdf + sized(x) + sized(y)
    return _public(ALG.ECC, alg, attributes, policy, rest)


def keyedhash(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    scheme: bytes = NONE,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of a keyedHash object."""
    return _public(ALG.KEYEDHASH, alg, attributes, policy, scheme + sized(unique))


def symcipher(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    symmetric: bytes = AES_128_CFB,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of a block cipher key."""
    return _public(ALG.SYMCIPHER, alg, attributes, policy, symmetric + sized(unique))


def mlkem(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    symmetric: bytes = NONE,
    parms: int = MLKEM_PARMS.MLKEM_768,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of an ML-KEM key."""
    return _public(ALG.MLKEM, alg, attributes, policy, symmetric + words(parms) + sized(unique))


def mldsa(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    parms: int = MLDSA_PARMS.MLDSA_44,
    external_mu: bool = False,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of an ML-DSA key."""
    rest = words(parms) + bytes((external_mu,)) + sized(unique)
    return _public(ALG.MLDSA, alg, attributes, policy, rest)


def hash_mldsa(
    attributes: int,
    *,
    alg: int = ALG.SHA256,
    policy: bytes = b"",
    parms: int = MLDSA_PARMS.MLDSA_44,
    hash_alg: int = ALG.SHA256,
    unique: bytes = b"",
) -> bytes:
    """TPMT_PUBLIC of a HashML-DSA key."""
    rest = words(parms, hash_alg) + sized(unique)
    return _public(ALG.HASH_MLDSA, alg, attributes, policy, rest)


def storage(attributes: int = OWN, *, alg: int = ALG.SHA256) -> bytes:
    """Template of an ECC storage key."""
    return ecc(attributes | STORAGE | NO_DA, alg=alg, symmetric=AES_128_CFB)


def sealed(attributes: int = FIXED | USER_AUTH) -> bytes:
    """Template of a data object."""
    return keyedhash(attributes)


def sensitive_create(auth: bytes = b"", data: bytes = b"") -> bytes:
    """TPM2B_SENSITIVE_CREATE."""
    return sized(sized(auth) + sized(data))


def sensitive(kind: int, secret: bytes, *, auth: bytes = b"", seed: bytes = b"") -> bytes:
    """TPMT_SENSITIVE."""
    return words(kind) + sized(auth) + sized(seed) + sized(secret)


def create_parameters(
    template: bytes,
    auth: bytes = b"",
    data: bytes = b"",
    outside: bytes = b"",
    pcrs: bytes = bytes(4),
) -> bytes:
    """Parameters of TPM2_Create and TPM2_CreatePrimary."""
    return sensitive_create(auth, data) + sized(template) + sized(outside) + pcrs


def name_of(public: bytes) -> bytes:
    """The Name of a TPMT_PUBLIC."""
    return public[2:4] + digest(int.from_bytes(public[2:4]), public)


def create_primary(
    tester: Tester,
    template: bytes,
    *,
    hierarchy: int = RH.OWNER,
    auth: bytes = b"",
    data: bytes = b"",
) -> Result:
    """TPM2_CreatePrimary with an empty hierarchy authorization."""
    return tester.run(
        CC.CREATE_PRIMARY,
        [hierarchy],
        create_parameters(template, auth, data),
        [Password()],
    )


def loaded_primary(tester: Tester, template: bytes, **options: bytes) -> int:
    """The handle of a Primary Object of the owner hierarchy."""
    created = create_primary(tester, template, **options)  # type: ignore[arg-type]
    assert created.rc == 0, hex(created.rc)
    assert created.handle is not None
    return created.handle


def create(
    tester: Tester,
    parent: int,
    template: bytes,
    *,
    auth: bytes = b"",
    data: bytes = b"",
    parent_auth: bytes = b"",
) -> Result:
    """TPM2_Create."""
    return tester.run(
        CC.CREATE, [parent], create_parameters(template, auth, data), [Password(parent_auth)]
    )


def load(tester: Tester, parent: int, private: bytes, public: bytes) -> Result:
    """TPM2_Load below a parent with an empty authValue."""
    return tester.run(CC.LOAD, [parent], sized(private) + sized(public), [Password()])


def loaded_child(tester: Tester, parent: int, template: bytes, **options: bytes) -> int:
    """The handle of a new object below `parent`."""
    created = create(tester, parent, template, **options)
    assert created.rc == 0, hex(created.rc)
    answer = load(tester, parent, created.sized(0), created.sized(1))
    assert answer.rc == 0, hex(answer.rc)
    assert answer.handle is not None
    return answer.handle


def load_external(
    tester: Tester, public: bytes, private: bytes = b"", hierarchy: int = RH.NULL
) -> Result:
    """TPM2_LoadExternal."""
    parameters = sized(private) + sized(public) + hierarchy.to_bytes(4)
    return tester.run(CC.LOAD_EXTERNAL, params=parameters)


def loaded_external(tester: Tester, public: bytes, private: bytes = b"") -> int:
    """The handle of a key from outside, in no hierarchy."""
    loaded = load_external(tester, public, private)
    assert loaded.handle is not None, hex(loaded.rc)
    return loaded.handle


def loaded_sealed(
    tester: Tester, policy: bytes, *, attributes: int = FIXED | NO_DA, auth: bytes = b""
) -> int:
    """The handle of a sealed object that this policy authorizes."""
    parent = loaded_primary(tester, storage())
    template = keyedhash(attributes, policy=policy)
    handle = loaded_child(tester, parent, template, data=b"secret", auth=auth)
    flush(tester, parent)
    return handle


def flush(tester: Tester, *handles: int) -> None:
    """TPM2_FlushContext; every one has to succeed."""
    for handle in handles:
        tester.names.pop(handle, None)
        assert tester.run(CC.FLUSH_CONTEXT, params=handle.to_bytes(4)).rc == 0


def import_object(
    tester: Tester,
    parent: int,
    public: bytes,
    duplicate: bytes,
    *,
    key: bytes = b"",
    secret: bytes = b"",
    symmetric: bytes = NONE,
) -> Result:
    """TPM2_Import below a parent with an empty authValue."""
    parameters = sized(key) + sized(public) + sized(duplicate) + sized(secret) + symmetric
    return tester.run(CC.IMPORT, [parent], parameters, [Password()])
