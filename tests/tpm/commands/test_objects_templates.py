"""Which templates are refused, and with which response code: as libtpms does."""

from collections.abc import Callable
from random import Random

import pytest

from tests.tpm import areas
from tests.tpm.areas import (
    ADMIN_POLICY,
    AES_128_CFB,
    DECRYPT,
    ENCRYPTED_DUPLICATION,
    FIXED,
    FIXED_PARENT,
    FIXED_TPM,
    MOVABLE,
    NO_DA,
    NONE,
    ORIGIN,
    OWN,
    RESTRICTED,
    SIGN,
    ST_CLEAR,
    STORAGE,
    USER_AUTH,
    X509_SIGN,
    words,
)
from tests.tpm.harness import Password, Result, Tester, sized
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH

ATTRIBUTES = (
    *(FIXED_TPM, ST_CLEAR, FIXED_PARENT, ORIGIN, USER_AUTH, ADMIN_POLICY),
    *(NO_DA, ENCRYPTED_DUPLICATION, RESTRICTED, DECRYPT, SIGN),
)
"""All but x509sign, which libtpms takes for any key."""
SENSIBLE = (
    *(0, OWN, MOVABLE, OWN | STORAGE, MOVABLE | STORAGE, OWN | SIGN, MOVABLE | SIGN),
    *(OWN | DECRYPT, OWN | RESTRICTED | SIGN, FIXED | USER_AUTH, USER_AUTH),
    *(FIXED | USER_AUTH | DECRYPT, FIXED | USER_AUTH | SIGN),
)
HMAC = words(ALG.HMAC, ALG.SHA256)
XOR = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
SYMMETRIC = (
    AES_128_CFB,
    words(ALG.AES, 256, ALG.CFB),
    words(ALG.AES, 128, ALG.CTR),
    words(ALG.AES, 128, ALG.NULL),
    words(ALG.AES, 128, ALG.CMAC),
    words(ALG.AES, 127, ALG.CFB),
    words(ALG.AES, 128, 0x99),
    words(ALG.XOR, ALG.SHA256),
    words(ALG.CAMELLIA, 128, ALG.CFB),
    words(0x99, 1, 1),
    NONE,
)
RSA_SCHEMES = (
    NONE,
    words(ALG.RSASSA, ALG.SHA256),
    words(ALG.RSAPSS, ALG.SHA1),
    words(ALG.RSAES),
    words(ALG.OAEP, ALG.SHA256),
    words(ALG.ECDSA, ALG.SHA256),
    words(ALG.RSASSA, ALG.NULL),
    HMAC,
)
ECC_SCHEMES = (
    NONE,
    words(ALG.ECDSA, ALG.SHA256),
    words(ALG.ECDAA, ALG.SHA256, 1),
    words(ALG.ECSCHNORR, ALG.SHA256),
    words(ALG.ECDH, ALG.SHA256),
    words(ALG.RSASSA, ALG.SHA256),
    words(ALG.ECDSA, ALG.NULL),
)
KEYEDHASH_SCHEMES = (
    NONE,
    HMAC,
    XOR,
    words(ALG.HMAC, ALG.SHA512),
    words(ALG.HMAC, ALG.NULL),
    words(ALG.XOR, ALG.SHA256, ALG.NULL),
    words(ALG.XOR, ALG.SHA256, ALG.MGF1),
    words(ALG.XOR, ALG.NULL, ALG.KDF1_SP800_108),
    words(ALG.CMAC, 1),
)
KDFS = (
    *(NONE, NONE, NONE),
    words(ALG.KDF1_SP800_108, ALG.SHA256),
    words(ALG.MGF1, ALG.SHA256),
    words(0x99),
)
POLICIES = (b"", b"", b"", bytes(32), bytes(20), bytes(31))
AUTHS = (b"", b"", b"a", bytes(33), b"x" * 33, b"x" * 65)
SECRETS = (b"", b"", b"", b"d", b"d" * 16, b"d" * 64, b"d" * 65, b"d" * 128, b"d" * 129)
PARENTS = {
    "fixedTPM": areas.storage(),
    "movable": areas.storage(MOVABLE),
    "encrypted duplication": areas.storage(MOVABLE | ENCRYPTED_DUPLICATION),
    "symmetric": areas.symcipher(OWN | STORAGE),
    "derivation": areas.keyedhash(OWN | STORAGE, scheme=XOR),
    "movable derivation": areas.keyedhash(MOVABLE | STORAGE, scheme=XOR),
}
DERIVATION = {"derivation", "movable derivation"}


def random_template(random: Random) -> bytes:
    """A TPMT_PUBLIC that is almost right, mostly."""
    attributes = random.choice(SENSIBLE)
    for _ in range(random.choice((0, 0, 1, 1, 2, 6))):
        attributes ^= random.choice(ATTRIBUTES)
    if random.random() < 0.02:
        attributes |= 1 << random.choice((0, 3, 12, 31))
    alg = random.choice((*[ALG.SHA256] * 8, ALG.SHA1, ALG.SHA384, ALG.NULL, 0x99))
    policy = random.choice(POLICIES)
    is_storage = attributes & STORAGE == STORAGE
    symmetric = AES_128_CFB if is_storage else NONE
    if random.random() < 0.3:
        symmetric = random.choice(SYMMETRIC)

    def scheme(schemes: tuple[bytes, ...]) -> bytes:
        return schemes[0] if random.random() < 0.4 else random.choice(schemes)

    match random.choice("reeekkkss"):
        case "r":
            template = areas.rsa(
                attributes,
                alg=alg,
                policy=policy,
                symmetric=symmetric,
                scheme=scheme(RSA_SCHEMES),
                bits=random.choice((2048, 2048, 2048, 2049, 512)),
                exponent=random.choice((0, 0, 0, 65537, 3, 5, 7, 65539, 65541)),
                unique=random.choice((b"", bytes(256))),
            )
        case "e":
            template = areas.ecc(
                attributes,
                alg=alg,
                policy=policy,
                symmetric=symmetric,
                scheme=scheme(ECC_SCHEMES),
                curve=random.choice((3, 3, 3, 4, 5, 0, 0x99)),
                kdf=random.choice(KDFS),
                x=random.choice((b"", bytes(32), bytes(66))),
            )
        case "k":
            template = areas.keyedhash(
                attributes,
                alg=alg,
                policy=policy,
                scheme=scheme(KEYEDHASH_SCHEMES),
                unique=random.choice((b"", bytes(32), bytes(65))),
            )
        case _:
            template = areas.symcipher(
                attributes,
                alg=alg,
                policy=policy,
                symmetric=scheme(SYMMETRIC),
                unique=random.choice((b"", bytes(32), bytes(65))),
            )
    if random.random() < 0.05:
        template = template[: random.randrange(len(template))]
    return template


def run(tester: Tester, code: int, handles: list[int], parameters: bytes) -> Result:
    """One command, which leaves no object behind."""
    answer = tester.run(code, handles, parameters, [Password()] if handles else [])
    if answer.handle is not None:
        areas.flush(tester, answer.handle)
    return answer


def compare(
    testers: tuple[Tester, Tester],
    request: Callable[[Random], tuple[int, list[int], bytes]],
    count: int,
    *,
    deterministic: bool,
) -> None:
    """Run `count` random requests on both; every difference is shown."""
    random = Random(185)
    differences = []
    codes = set()
    for _ in range(count):
        code, handles, parameters = request(random)
        engine, swtpm = (run(tester, code, handles, parameters) for tester in testers)
        codes.add(engine.rc)
        if engine.rc != swtpm.rc or (deterministic and engine != swtpm):
            differences.append((CC(code).name, parameters.hex(), hex(engine.rc), hex(swtpm.rc)))
    assert differences == []
    assert len(codes) > 6  # otherwise little was tried


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS.keys())
def test_create(testers: tuple[Tester, Tester], parent: bytes) -> None:
    handles = [areas.loaded_primary(tester, parent) for tester in testers]
    assert handles[0] == handles[1]

    def request(random: Random) -> tuple[int, list[int], bytes]:
        template = random_template(random)
        parameters = areas.create_parameters(template, random.choice(AUTHS), random.choice(SECRETS))
        return CC.CREATE, handles[:1], parameters

    compare(testers, request, 1500, deterministic=False)


def test_create_primary(testers: tuple[Tester, Tester]) -> None:
    def request(random: Random) -> tuple[int, list[int], bytes]:
        template = random_template(random)
        parameters = areas.create_parameters(template, random.choice(AUTHS), random.choice(SECRETS))
        return CC.CREATE_PRIMARY, [RH.OWNER], parameters

    compare(testers, request, 3000, deterministic=True)


@pytest.mark.parametrize("kind", PARENTS)
def test_create_loaded(testers: tuple[Tester, Tester], kind: str) -> None:
    handles = [areas.loaded_primary(tester, PARENTS[kind]) for tester in testers]
    assert handles[0] == handles[1]

    def request(random: Random) -> tuple[int, list[int], bytes]:
        template = random_template(random)
        create = areas.sensitive_create(random.choice(AUTHS), random.choice(SECRETS))
        return CC.CREATE_LOADED, handles[:1], create + sized(template)

    compare(testers, request, 1500, deterministic=kind in DERIVATION)


def test_load_external(testers: tuple[Tester, Tester]) -> None:
    """Public areas alone: the structures have to be consistent, attributes are free."""

    def request(random: Random) -> tuple[int, list[int], bytes]:
        hierarchy = random.choice((RH.NULL, RH.OWNER, RH.ENDORSEMENT, RH.LOCKOUT))
        public = random_template(random)
        return CC.LOAD_EXTERNAL, [], sized(b"") + sized(public) + hierarchy.to_bytes(4)

    compare(testers, request, 3000, deterministic=True)


REFUSED = {
    "restricted, neither sign nor decrypt": (areas.ecc(OWN | RESTRICTED), RC.ATTRIBUTES),
    "restricted, sign and decrypt": (areas.ecc(OWN | STORAGE | SIGN), RC.ATTRIBUTES),
    "neither sign nor decrypt": (areas.ecc(OWN), RC.ATTRIBUTES),
    "data of the TPM's own": (areas.keyedhash(OWN), RC.ATTRIBUTES),
    "asymmetric without origin": (areas.ecc(FIXED | SIGN), RC.ATTRIBUTES),
    "fixedTPM alone": (areas.ecc(OWN & ~FIXED_PARENT | SIGN), RC.ATTRIBUTES),
    "fixed and encrypted duplication": (
        areas.ecc(OWN | SIGN | ENCRYPTED_DUPLICATION),
        RC.ATTRIBUTES,
    ),
    "X.509 signing without signing": (areas.ecc(OWN | DECRYPT | X509_SIGN), RC.ATTRIBUTES),
    "X.509 signing by an HMAC": (
        areas.keyedhash(OWN | SIGN | X509_SIGN, scheme=HMAC),
        RC.ATTRIBUTES,
    ),
    "X.509 signing by a MAC": (
        areas.symcipher(OWN | SIGN | X509_SIGN, symmetric=words(ALG.AES, 128, ALG.CMAC)),
        RC.ATTRIBUTES,
    ),
    "firmware limited": (areas.ecc(OWN | SIGN | 1 << 8), RC.ATTRIBUTES),
    "SVN limited": (areas.ecc(OWN | SIGN | 1 << 9), RC.ATTRIBUTES),
    "no nameAlg": (areas.ecc(OWN | SIGN, alg=ALG.NULL), RC.HASH),
    "policy of another hash": (areas.ecc(OWN | SIGN, policy=bytes(20)), RC.SIZE),
    "storage without cipher": (areas.ecc(OWN | STORAGE), RC.SYMMETRIC),
    "signing with cipher": (areas.ecc(OWN | SIGN, symmetric=AES_128_CFB), RC.SYMMETRIC),
    "restricted signing without scheme": (areas.ecc(OWN | SIGN | RESTRICTED), RC.SCHEME),
    "signing with key exchange": (
        areas.ecc(OWN | SIGN, scheme=words(ALG.ECDH, ALG.SHA256)),
        RC.SCHEME,
    ),
    "storage with scheme": (
        areas.rsa(OWN | STORAGE, symmetric=AES_128_CFB, scheme=words(ALG.RSAES)),
        RC.SCHEME,
    ),
    "KDF": (areas.ecc(OWN | SIGN, kdf=words(ALG.KDF1_SP800_108, ALG.SHA256)), RC.KDF),
    "derivation parent without KDF": (
        areas.keyedhash(OWN | STORAGE, scheme=words(ALG.XOR, ALG.SHA256, ALG.NULL)),
        RC.SCHEME,
    ),
    "cipher key for a MAC that decrypts": (
        areas.symcipher(OWN | DECRYPT, symmetric=words(ALG.AES, 128, ALG.CMAC)),
        RC.SCHEME,
    ),
}


@pytest.mark.parametrize(("template", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(tester: Tester, template: bytes, code: int) -> None:
    assert areas.create_primary(tester, template).rc == code | 0x2C0


def test_asymmetric_keys_that_sign_can_be_for_x509(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        for made in (areas.ecc(OWN | SIGN | X509_SIGN), areas.rsa(OWN | SIGN | X509_SIGN)):
            assert areas.create_primary(tester, made).rc == 0


NO_PARENTS = {
    "signing key": areas.ecc(OWN | SIGN),
    "decryption key": areas.rsa(OWN | DECRYPT),
    "HMAC key": areas.keyedhash(OWN | SIGN, scheme=HMAC),
    "cipher key": areas.symcipher(OWN | DECRYPT),
}


@pytest.mark.parametrize("template", NO_PARENTS.values(), ids=NO_PARENTS.keys())
def test_only_storage_keys_are_parents(both: tuple[Tester, Tester], template: bytes) -> None:
    for tester in both:
        handle = areas.loaded_primary(tester, template)
        wrong = RC.TYPE | 0x100
        assert areas.create(tester, handle, areas.sealed(), data=b"d").rc == wrong
        assert areas.load(tester, handle, bytes(100), areas.sealed()).rc == wrong
        parameters = areas.sensitive_create(data=b"d") + sized(areas.sealed())
        assert run(tester, CC.CREATE_LOADED, [handle], parameters).rc == wrong


def test_a_fixed_storage_key_has_the_algorithms_of_its_parent(both: tuple[Tester, Tester]) -> None:
    for tester in both:
        parent = areas.loaded_primary(tester, areas.storage())
        other_hash = areas.create(tester, parent, areas.storage(alg=ALG.SHA384))
        assert other_hash.rc == RC.HASH | 0x2C0
        other_key = areas.ecc(OWN | STORAGE, symmetric=words(ALG.AES, 256, ALG.CFB))
        assert areas.create(tester, parent, other_key).rc == RC.SYMMETRIC | 0x2C0
        movable = areas.ecc(MOVABLE | STORAGE, symmetric=words(ALG.AES, 256, ALG.CFB))
        assert areas.create(tester, parent, movable).rc == 0
