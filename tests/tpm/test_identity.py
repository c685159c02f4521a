"""EKs, requests for certificates, and certificates in NV; judged by pyca and a guest's eyes."""

import hashlib
import os
import struct

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509.oid import NameOID

from tests.tpm import areas
from tests.tpm.commands import nv_area
from tests.tpm.harness import EnginePeer, HostClock, Password, Tester, digest, sized
from vtpmd.tpm.engine import Engine, IdentityError
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, ECC_CURVE, RH, SU

KINDS = ("rsa-2048", "ecc-p256", "ecc-p384")
INDICES = {"rsa-2048": 0x01C00002, "ecc-p256": 0x01C0000A, "ecc-p384": 0x01C00016}
CHAIN, CHAIN_END = 0x01C00100, 0x01C001FF
DEFINED, LOCKED = 0x42072001, 0x62072801
"""Attributes as an index is defined and as it stays: written and write-locked."""
LARGEST = 2048


def policy_a(alg: int) -> bytes:
    """PolicySecret(TPM_RH_ENDORSEMENT)."""
    size = len(digest(alg))
    return digest(alg, digest(alg, bytes(size), struct.pack(">II", 0x151, 0x4000000B)))


def policy_b(alg: int, index: int) -> bytes:
    """PolicyOR of PolicyA and PolicyAuthorizeNV(index)."""
    size = len(digest(alg))
    public = struct.pack(">IHI", index, alg, 0x220F1008 | 1 << 29) + sized(policy_a(alg))
    name = alg.to_bytes(2) + digest(alg, public + (2 + size).to_bytes(2))
    policy_c = digest(alg, bytes(size), struct.pack(">I", 0x192), name)
    return digest(alg, bytes(size), struct.pack(">I", 0x171), policy_a(alg), policy_c)


LOW, HIGH = 0x000300B2, 0x000300F2
TEMPLATES = {
    "rsa-2048": areas.rsa(
        LOW, policy=policy_a(ALG.SHA256), symmetric=areas.AES_128_CFB, unique=bytes(256)
    ),
    "ecc-p256": areas.ecc(
        LOW, policy=policy_a(ALG.SHA256), symmetric=areas.AES_128_CFB, x=bytes(32), y=bytes(32)
    ),
    "ecc-p384": areas.ecc(
        HIGH,
        alg=ALG.SHA384,
        policy=policy_b(ALG.SHA384, 0x01C07F02),
        symmetric=areas.words(ALG.AES, 256, ALG.CFB),
        curve=ECC_CURVE.NIST_P384,
    ),
}
"""L-1, L-2 and H-3 as the TCG EK Credential Profile has them."""


def install(peer: EnginePeer, certificates: dict[str, bytes], *chain: bytes) -> bool:
    """Put certificates in; whether there is something to store."""
    reply = peer.engine.install_certificates(certificates, chain)
    if reply.nv is not None:
        peer.keep()
        assert reply.nv == peer.stored
    return reply.nv is not None


def read(tester: Tester, index: int, authority: int | None = None) -> bytes:
    """The contents, in pieces as the size of a buffer asks for."""
    size = int.from_bytes(tester.run(CC.NV_READ_PUBLIC, [index]).sized()[-2:])
    octets = b""
    while len(octets) < size:
        piece = struct.pack(">HH", min(1024, size - len(octets)), len(octets))
        answer = tester.run(CC.NV_READ, [authority or index, index], piece, [Password()])
        assert answer.rc == 0
        octets += answer.sized()
    return octets


def attributes(tester: Tester, index: int) -> int:
    return int.from_bytes(tester.run(CC.NV_READ_PUBLIC, [index]).sized()[6:10])


@pytest.mark.parametrize("wrong", [0, 2])
def test_moduli_that_are_thought_to_be_known_change_no_key(wrong: int) -> None:
    peer = EnginePeer.manufactured()
    expected = peer.engine.endorsement_keys(KINDS)
    known = load_der_public_key(expected["rsa-2048"].public_key)
    assert isinstance(known, rsa.RSAPublicKey)
    modulus = known.public_numbers().n + wrong
    anew = EnginePeer.restored(peer.engine.permanent())
    assert anew.engine.endorsement_keys(KINDS, {"rsa-2048": modulus}) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_is_what_the_template_gives_a_guest(
    tester: Tester, engine_peer: EnginePeer, kind: str
) -> None:
    made = areas.create_primary(tester, TEMPLATES[kind], hierarchy=RH.ENDORSEMENT)
    public = made.sized()
    key = engine_peer.engine.endorsement_keys(KINDS)[kind]
    assert key.name == areas.name_of(public)
    known = load_der_public_key(key.public_key)
    if isinstance(known, rsa.RSAPublicKey):
        assert known.public_numbers().n == int.from_bytes(public[-256:])
        assert known.public_numbers().e == 65537
    else:
        assert isinstance(known, ec.EllipticCurvePublicKey)
        size = known.key_size // 8
        assert known.public_numbers().y == int.from_bytes(public[-size:])


def test_a_persistent_key_of_a_guest_is_none(tester: Tester, engine_peer: EnginePeer) -> None:
    before = engine_peer.engine.endorsement_keys(KINDS)
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
    own = areas.create_primary(
        tester, areas.rsa(LOW | areas.USER_AUTH, symmetric=areas.AES_128_CFB), hierarchy=RH.OWNER
    )
    assert own.handle is not None
    assert (
        tester.run(CC.EVICT_CONTROL, [RH.OWNER, own.handle], b"\x81\x01\x00\x01", [Password()]).rc
        == 0
    )
    assert engine_peer.engine.endorsement_keys(KINDS) == before


def test_the_seed_is_named_without_being_told(tester: Tester, engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    name, keys = engine.seed_name, engine.endorsement_keys(["ecc-p256"])
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
    assert (engine.seed_name, engine.endorsement_keys(["ecc-p256"])) == (name, keys)
    assert name not in engine.permanent()
    assert name.hex().encode() not in engine.permanent()
    assert tester.run(CC.CHANGE_EPS, [RH.PLATFORM], auths=[Password()]).rc == 0
    assert engine.seed_name != name
    assert engine.endorsement_keys(["ecc-p256"]) != keys


def test_a_profile_without_p384_has_no_such_key() -> None:
    for without in ("NIST_P384", "AES-256"):
        profile = f"default-v1 without {without}"
        engine = Engine.manufacture(profile, ["sha256"], os.urandom, HostClock())
        assert list(engine.endorsement_keys(KINDS)) == ["rsa-2048", "ecc-p256"]
    fips = Engine.manufacture("fips-v1", ["sha256"], os.urandom, HostClock())
    assert list(fips.endorsement_keys(["ecc-p384"])) == ["ecc-p384"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subject", ["7d1f2b30-8f2e-4a55-9a7c-0123456789ab", ""])
def test_a_request_says_what_the_certificate_should(
    engine_peer: EnginePeer, kind: str, subject: str
) -> None:
    engine = engine_peer.engine
    request = x509.load_der_x509_csr(engine.certificate_request(kind, subject))
    assert request.is_signature_valid
    assert request.public_key() == load_der_public_key(
        engine.endorsement_keys([kind])[kind].public_key
    )
    assert [name.value for name in request.subject] == [subject] * bool(subject)
    assert all(name.oid == NameOID.COMMON_NAME for name in request.subject)
    extensions = request.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    expected = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=kind == "rsa-2048",
        data_encipherment=False,
        key_agreement=kind != "rsa-2048",
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    assert (usage.critical, usage.value) == (True, expected)
    extended = extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert (extended.critical, [each.dotted_string for each in extended.value]) == (
        False,
        ["2.23.133.8.1"],
    )
    name = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert name.critical is not bool(subject)
    (directory,) = name.value.get_values_for_type(x509.DirectoryName)
    assert {each.oid.dotted_string: each.value for each in directory} == {
        "2.23.133.2.1": "id:5654504D",
        "2.23.133.2.2": "vtpmd",
        "2.23.133.2.3": "id:00010000",
    }
    (specification,) = [e for e in extensions if e.oid.dotted_string == "2.5.29.9"]
    assert not specification.critical
    assert isinstance(specification.value, x509.UnrecognizedExtension)
    assert specification.value.value.endswith(bytes.fromhex("0c03322e30020100020200b9"))
    assert len(list(extensions)) == 5


def test_certificates_are_read_and_not_changed(tester: Tester, engine_peer: EnginePeer) -> None:
    contents = {kind: os.urandom(1500) for kind in KINDS}
    assert install(engine_peer, contents, b"issuer", b"its issuer")
    by_index = {INDICES[kind]: octets for kind, octets in contents.items()}
    by_index |= {CHAIN: b"issuer", CHAIN + 1: b"its issuer"}
    tester.reset()
    assert tester.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
    for index, octets in by_index.items():
        assert attributes(tester, index) == LOCKED
        assert read(tester, index) == read(tester, index, RH.OWNER) == octets
        undefined = tester.run(CC.NV_UNDEFINE_SPACE, [RH.OWNER, index], auths=[Password()])
        assert undefined.rc == RC.NV_AUTHORIZATION
        for authority in (RH.PLATFORM, RH.OWNER, index):
            written = tester.run(
                CC.NV_WRITE, [authority, index], sized(b"x") + bytes(2), [Password()]
            )
            assert written.rc in (RC.NV_LOCKED, RC.NV_AUTHORIZATION, RC.AUTH_UNAVAILABLE)
        assert read(tester, index) == octets


def test_what_is_in_nv_is_told_by_digests(engine_peer: EnginePeer) -> None:
    engine = engine_peer.engine
    assert engine.installed_certificates() == {}
    assert install(engine_peer, {"rsa-2048": b"rsa", "ecc-p384": b"p384"}, b"one", b"two")
    assert engine.installed_certificates() == {
        "rsa-2048": hashlib.sha256(b"rsa").digest(),
        "ecc-p384": hashlib.sha256(b"p384").digest(),
        "chain": hashlib.sha256(b"onetwo").digest(),
    }


def test_replaced_in_a_running_tpm(tester: Tester, engine_peer: EnginePeer) -> None:
    """The firmware has hidden the platform's authValue; nothing but the certificates changes."""
    install(engine_peer, {kind: os.urandom(900) for kind in KINDS}, b"a", b"b", b"c")
    hidden = sized(os.urandom(16))
    assert tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.PLATFORM], hidden, [Password()]).rc == 0
    pcrs = tester.run(CC.PCR_READ, params=bytes.fromhex("00000001000b03ffffff")).parameters
    keys = engine_peer.engine.endorsement_keys(KINDS)
    assert tester.run(CC.SHUTDOWN, params=SU.CLEAR.to_bytes(2)).rc == 0
    assert install(engine_peer, {"rsa-2048": b"new"}, b"d")
    assert not engine_peer.engine.shutdown_needed
    assert not install(engine_peer, {"rsa-2048": b"new"}, b"d")
    assert tester.run(CC.PCR_READ, params=bytes.fromhex("00000001000b03ffffff")).parameters == pcrs
    assert engine_peer.engine.endorsement_keys(KINDS) == keys
    tester.reset()
    assert read(tester, INDICES["rsa-2048"]) == b"new"
    assert read(tester, CHAIN) == b"d"
    for gone in (INDICES["ecc-p256"], INDICES["ecc-p384"], CHAIN + 1, CHAIN + 2):
        assert tester.run(CC.NV_READ_PUBLIC, [gone]).rc == RC.HANDLE | 0x100
    assert install(engine_peer, {})
    assert engine_peer.engine.installed_certificates() == {}


OWNERS, PLATFORMS = 0x00060006, 0x40070001


def defined(tester: Tester, index: int, size: int, attributes: int, by: int) -> bool:
    """Define an index; whether that succeeded."""
    return nv_area.define(tester, nv_area.Area(attributes, size, index), by=by).rc == 0


def test_an_owners_index_in_the_way_refuses_all(tester: Tester, engine_peer: EnginePeer) -> None:
    install(engine_peer, {"rsa-2048": b"old"})
    assert defined(tester, INDICES["ecc-p256"], 8, OWNERS, RH.OWNER)
    before = engine_peer.engine.permanent()
    with pytest.raises(IdentityError, match="owner of the TPM has defined index 0x01C0000A"):
        install(engine_peer, {"rsa-2048": b"new", "ecc-p256": b"new"})
    assert engine_peer.engine.permanent() == before
    assert install(engine_peer, {"rsa-2048": b"new"})  # that one is nothing of ours, and stays
    assert tester.run(CC.NV_READ_PUBLIC, [INDICES["ecc-p256"]]).rc == 0


def test_a_platforms_index_in_the_way_goes(tester: Tester, engine_peer: EnginePeer) -> None:
    """Also a counter, whose value no later one may fall behind."""
    counter = PLATFORMS & ~0xF0 | 0x10
    assert defined(tester, CHAIN, 8, counter, RH.PLATFORM)
    for _ in range(3):
        assert tester.run(CC.NV_INCREMENT, [RH.PLATFORM, CHAIN], auths=[Password()]).rc == 0
    assert defined(tester, CHAIN_END, 8, PLATFORMS, RH.PLATFORM)
    assert install(engine_peer, {}, b"issuer")
    assert read(tester, CHAIN) == b"issuer"
    assert tester.run(CC.NV_READ_PUBLIC, [CHAIN_END]).rc == 0
    later = 0x01800000
    assert defined(tester, later, 8, counter, RH.PLATFORM)
    assert tester.run(CC.NV_INCREMENT, [RH.PLATFORM, later], auths=[Password()]).rc == 0
    assert int.from_bytes(read(tester, later, RH.PLATFORM)) >= 4


@pytest.mark.parametrize(
    ("certificates", "chain"),
    [
        ({"rsa-2048": bytes(LARGEST + 1)}, ()),
        ({"rsa-2048": b""}, ()),
        ({}, (bytes(LARGEST + 1),)),
        ({}, (b"x",) * 9),
        ({"rsa-9999": b"x"}, ()),
    ],
)
def test_what_does_not_fit_is_refused(
    engine_peer: EnginePeer, certificates: dict[str, bytes], chain: tuple[bytes, ...]
) -> None:
    install(engine_peer, {"ecc-p256": bytes(LARGEST)}, *[b"old"] * 8)
    before = engine_peer.engine.permanent()
    with pytest.raises(IdentityError):
        install(engine_peer, certificates, *chain)
    assert engine_peer.engine.permanent() == before


def test_without_room_or_storage_nothing_changes(tester: Tester, engine_peer: EnginePeer) -> None:
    """What the new ones replace counts as room."""
    install(engine_peer, {"rsa-2048": bytes(2000)})
    index = 0x01800000
    while defined(tester, index, LARGEST, OWNERS, RH.OWNER):
        index += 1
    assert install(engine_peer, {"ecc-p256": bytes(2000)})
    before = engine_peer.engine.permanent()
    with pytest.raises(IdentityError, match="TPM_RC_NV_SPACE"):
        install(engine_peer, dict.fromkeys(KINDS, bytes(2000)))
    engine_peer.engine.nv_available = False
    with pytest.raises(IdentityError, match="TPM_RC_NV_UNAVAILABLE"):
        install(engine_peer, {"rsa-2048": b"new"})
    assert engine_peer.engine.permanent() == before


def test_a_powered_off_tpm_has_its_certificates_changed(engine_peer: EnginePeer) -> None:
    engine_peer.engine.power_off()
    assert install(engine_peer, {"rsa-2048": b"new"})
    engine_peer.reset()
    assert engine_peer.engine.installed_certificates().keys() == {"rsa-2048"}
