"""Primary keys against a real swtpm: same seed, same template, same object to the last octet."""

import hashlib
import hmac
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.oracles import libtpms_state
from tests.peers.client import STARTUP_CLEAR, Control, DataSocket
from tests.peers.swtpm import SwtpmInstance
from vtpmd.tpm.crypto import ecc, primes
from vtpmd.tpm.crypto.primary import PrimaryDerivation
from vtpmd.tpm.rc import RC, TpmError

RSA, KEYEDHASH, ECC, SYMCIPHER = 0x0001, 0x0008, 0x0023, 0x0025
SHA1, SHA256, SHA384, SHA512 = 0x0004, 0x000B, 0x000C, 0x000D
HASHES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}
P256, P384, P521 = 3, 4, 5

FIXED = 0x00000072  # fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth
RESTRICTED, DECRYPT, SIGN = 0x00010000, 0x00020000, 0x00040000
ORIGIN = 0x00000020
STORAGE = FIXED | RESTRICTED | DECRYPT

NULL = "0010"
AES_128_CFB, AES_256_CFB = "000600800043", "000601000043"
RSASSA_SHA256, ECDSA_SHA384, OAEP_SHA1 = "0014000b", "0018000c", "00170004"
HMAC_SHA256, HMAC_SHA512, XOR_KDF = "0005000b", "0005000d", "000a000b0022"

HIERARCHIES = {"o": 0x40000001, "e": 0x4000000B, "p": 0x4000000C}
SH_PROOF, EH_PROOF = "o", "e"


@dataclass(frozen=True)
class Case:
    """A template and where it is created; `parameters` is TPMU_PUBLIC_PARMS in hexadecimal."""

    label: str
    hierarchy: str
    kind: int
    name_alg: int
    attributes: int
    parameters: str
    unique: bytes = b"\0\0"
    policy: bytes = b""
    auth: bytes = b""
    data: bytes = b""
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def template(self) -> bytes:
        head = struct.pack(">HHI", self.kind, self.name_alg, self.attributes)
        return head + sized(self.policy) + bytes.fromhex(self.parameters) + self.unique

    @property
    def template_name(self) -> bytes:
        return name_of(self.name_alg, self.template)

    def public(self, unique: bytes) -> bytes:
        return self.template.removesuffix(self.unique) + unique

    @property
    def parent(self) -> bool:
        return self.attributes & (RESTRICTED | DECRYPT) == RESTRICTED | DECRYPT


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def name_of(name_alg: int, public: bytes) -> bytes:
    return struct.pack(">H", name_alg) + hashlib.new(HASHES[name_alg], public).digest()


def rsa_parms(symmetric: str, scheme: str, bits: int, exponent: int = 0) -> str:
    return symmetric + scheme + f"{bits:04x}{exponent:08x}"


def ecc_parms(symmetric: str, scheme: str, curve: int) -> str:
    return symmetric + scheme + f"{curve:04x}" + NULL


POINT = b"\0\0\0\0"
CASES = [
    Case(
        "rsa-srk", "o", RSA, SHA256, STORAGE, rsa_parms(AES_128_CFB, NULL, 2048), sized(bytes(256))
    ),
    Case(
        "rsa-ek",
        "e",
        RSA,
        SHA256,
        0x000300B2,
        rsa_parms(AES_128_CFB, NULL, 2048),
        sized(bytes(256)),
        policy=bytes(range(32)),
    ),
    Case(
        "rsa-signing",
        "p",
        RSA,
        SHA256,
        FIXED | RESTRICTED | SIGN,
        rsa_parms(NULL, RSASSA_SHA256, 2048),
    ),
    Case("rsa-signing-endorsement", "e", RSA, SHA1, FIXED | SIGN, rsa_parms(NULL, NULL, 1024)),
    Case("rsa-3072", "o", RSA, SHA384, FIXED | SIGN | DECRYPT, rsa_parms(NULL, NULL, 3072)),
    Case(
        "rsa-exponent", "o", RSA, SHA256, FIXED | DECRYPT, rsa_parms(NULL, OAEP_SHA1, 2048, 65539)
    ),
    Case("ecc-srk", "o", ECC, SHA256, STORAGE, ecc_parms(AES_128_CFB, NULL, P256), POINT),
    Case(
        "ecc-ek",
        "e",
        ECC,
        SHA384,
        0x000300B2,
        ecc_parms(AES_256_CFB, NULL, P384),
        sized(b"x" * 48) + sized(b"y" * 48),
        policy=bytes(48),
    ),
    Case("ecc-signing", "p", ECC, SHA256, FIXED | SIGN, ecc_parms(NULL, ECDSA_SHA384, P384), POINT),
    Case("ecc-521", "p", ECC, SHA512, FIXED | DECRYPT, ecc_parms(NULL, NULL, P521), POINT),
    Case("aes", "o", SYMCIPHER, SHA256, FIXED | SIGN | DECRYPT, AES_128_CFB),
    Case("aes-parent", "e", SYMCIPHER, SHA256, STORAGE, AES_128_CFB),
    Case(
        "aes-given",
        "p",
        SYMCIPHER,
        SHA1,
        (FIXED & ~ORIGIN) | DECRYPT,
        AES_256_CFB,
        data=bytes(range(32)),
    ),
    Case("hmac", "o", KEYEDHASH, SHA256, FIXED | SIGN, HMAC_SHA512, auth=b"secret"),
    Case("hmac-endorsement", "e", KEYEDHASH, SHA384, FIXED | SIGN, HMAC_SHA256),
    Case("derivation-parent", "o", KEYEDHASH, SHA256, STORAGE, XOR_KDF),
    Case("sealed", "o", KEYEDHASH, SHA256, FIXED & ~ORIGIN, NULL, data=b"sealed data"),
]


@dataclass(frozen=True)
class Created:
    """What swtpm answered to TPM2_CreatePrimary."""

    public: bytes
    creation_hash: bytes
    ticket: bytes
    name: bytes


@dataclass(frozen=True)
class Oracle:
    """Everything one swtpm made of CASES."""

    state: libtpms_state.State
    created: dict[str, Created]

    def kept(self, case: Case) -> libtpms_state.PersistentObject:
        return self.state.objects[persistent_handle(case)]

    def derivation(self, case: Case) -> PrimaryDerivation:
        level = self.state.levels[case.hierarchy]
        seed = self.state.seeds[case.hierarchy]
        return PrimaryDerivation(seed, case.template_name, case.data, level, self.proofs(case))

    def proofs(self, case: Case) -> tuple[bytes, ...]:
        if case.hierarchy != "e":
            return ()
        return self.state.proofs[SH_PROOF], self.state.proofs[EH_PROOF]


def persistent_handle(case: Case) -> int:
    return (0x81800000 if case.hierarchy == "p" else 0x81000000) + CASES.index(case)


def command(code: int, handles: tuple[int, ...], parameters: bytes) -> bytes:
    """A command with one empty password session."""
    session = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
    body = b"".join(struct.pack(">I", handle) for handle in handles)
    body += struct.pack(">I", len(session)) + session + parameters
    return struct.pack(">HII", 0x8002, 10 + len(body), code) + body


def executed(tpm: DataSocket, request: bytes) -> bytes:
    response = tpm.execute(request)
    assert struct.unpack_from(">I", response, 6)[0] == 0, response.hex()
    return response[10:]


def create(tpm: DataSocket, case: Case) -> Created:
    sensitive = sized(sized(case.auth) + sized(case.data))
    parameters = sensitive + sized(case.template) + sized(b"") + bytes(4)
    hierarchy = HIERARCHIES[case.hierarchy]
    response = executed(tpm, command(0x131, (hierarchy,), parameters))
    handle, rest = response[:4], response[8:]
    public, rest = unsized(rest)
    _, rest = unsized(rest)
    creation_hash, rest = unsized(rest)
    ticket, rest = unsized(rest[6:])
    name, rest = unsized(rest)
    owner = HIERARCHIES["p" if case.hierarchy == "p" else "o"]
    (transient,) = struct.unpack(">I", handle)
    keep = struct.pack(">I", persistent_handle(case))
    executed(tpm, command(0x120, (owner, transient), keep))
    executed(tpm, struct.pack(">HII", 0x8001, 14, 0x165) + handle)
    return Created(public, creation_hash, ticket, name)


def unsized(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end], data[end:]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed")
    directory: Path = tmp_path_factory.mktemp("s")
    instance = SwtpmInstance(directory, "tpm")
    try:
        with Control(instance.control) as control:
            control.power_on()
            tpm = DataSocket(instance.data)
            executed(tpm, STARTUP_CLEAR)
            created = {case.label: create(tpm, case) for case in CASES}
    finally:
        instance.close()
    return Oracle(libtpms_state.read(directory / "tpm.state" / "tpm2-00.permall"), created)


def of(*kinds: int) -> pytest.MarkDecorator:
    cases = [case for case in CASES if case.kind in kinds]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.label)


def assert_same(
    oracle: Oracle, case: Case, unique: bytes, sensitive: bytes, seed_value: bytes
) -> None:
    created, kept = oracle.created[case.label], oracle.kept(case)
    assert created.public == kept.public == case.public(unique)
    assert created.name == kept.name == name_of(case.name_alg, created.public)
    assert kept.sensitive == sensitive
    assert kept.seed_value == seed_value


@of(RSA)
def test_rsa(oracle: Oracle, case: Case) -> None:
    bits, exponent = struct.unpack(">HI", bytes.fromhex(case.parameters)[-6:])
    derivation = oracle.derivation(case)
    key = derivation.rsa(
        bits, exponent or 65537, sign=bool(case.attributes & SIGN), should_stop=primes.never
    )
    seed_value = derivation.seed_value(case.name_alg)
    unique = sized(key.public.n.to_bytes(bits // 8, "big"))
    prime = key.p.to_bytes(bits // 16, "big")
    assert_same(oracle, case, unique, prime, seed_value if case.parent else b"")


@of(ECC)
def test_ecc(oracle: Oracle, case: Case) -> None:
    curve = ecc.CURVES[struct.unpack(">H", bytes.fromhex(case.parameters)[-4:-2])[0]]
    derivation = oracle.derivation(case)
    d = derivation.ecc(curve)
    seed_value = derivation.seed_value(case.name_alg)
    point = ecc.public_point(curve, d)
    unique = sized(curve.octets(point.x)) + sized(curve.octets(point.y))
    assert_same(oracle, case, unique, curve.octets(d), seed_value if case.parent else b"")


@of(SYMCIPHER, KEYEDHASH)
def test_symmetric(oracle: Oracle, case: Case) -> None:
    sizes = {
        "aes": 16,
        "aes-parent": 16,
        "hmac": 64,
        "hmac-endorsement": 32,
        "derivation-parent": 32,
    }
    derivation = oracle.derivation(case)
    sensitive = case.data or derivation.octets(sizes[case.label])
    seed_value = derivation.seed_value(case.name_alg)
    name = HASHES[case.name_alg]
    unique = hashlib.new(name, seed_value + sensitive).digest()
    if case.parent:
        unique = hmac.digest(seed_value, sensitive, name)
    assert_same(oracle, case, sized(unique), sensitive, seed_value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_creation_ticket_is_under_the_proof_of_the_hierarchy(oracle: Oracle, case: Case) -> None:
    created = oracle.created[case.label]
    proof = oracle.state.proofs[case.hierarchy]
    content = b"\x80\x21" + created.name + created.creation_hash
    assert created.ticket == hmac.digest(proof, content, "sha512")


def test_new_states_have_the_level_we_use(oracle: Oracle) -> None:
    assert oracle.state.levels == dict.fromkeys("eop", 1)


def test_rsa_derivation_can_be_cancelled() -> None:
    calls = 0

    def stop_at_third() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3

    derivation = PrimaryDerivation(bytes(64), b"\0\x0b" + bytes(32), b"")
    with pytest.raises(TpmError) as error:
        derivation.rsa(2048, 65537, sign=False, should_stop=stop_at_third)
    assert error.value.code == RC.CANCELED
    assert calls == 3
