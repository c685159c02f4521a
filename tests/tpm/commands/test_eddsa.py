"""Keys of EdDSA and HashEdDSA (Part 1, 44.3.2 and 44.5; Part 2, 12.2.3.5; Part 3, 17 and 20)."""

import hashlib
import struct

import pytest

from tests.oracles import edwards
from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, NONE, OWN, RESTRICTED, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.commands.test_attestation import Attested
from tests.tpm.commands.test_certify_x509 import DIGITAL_SIGNATURE, partial
from tests.tpm.crypto.test_eddsa import LIBRARY
from tests.tpm.harness import EnginePeer, Password, Result, Tester, kdfa, sized
from tests.tpm.known_keys import ecc_areas
from tests.tpm.octet_keys import (
    ECDH,
    ED,
    ED_SIZE,
    EDDSA,
    HASH_EDDSA,
    octet_areas,
    public_of,
    signing_key,
)
from tests.tpm.seeded_keys import (
    H1,
    H2,
    NULL_TICKET,
    P1,
    P2,
    P3,
    complete_signing,
    complete_verifying,
    sign_digest,
    signed,
    start_signing,
    start_verifying,
    update,
    verify_digest,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, PT, RH

MESSAGE = bytes(range(256)) * 12 + b"message"
C25519, C448 = ECC_CURVE.CURVE_25519, ECC_CURVE.CURVE_448
ORACLES = {C25519: edwards.ED25519, C448: edwards.ED448}
every_curve = pytest.mark.parametrize("curve", [C25519, C448], ids=["25519", "448"])
every_scheme = pytest.mark.parametrize("scheme", [EDDSA, HASH_EDDSA], ids=["EDDSA", "HASH_EDDSA"])
PCRS = struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\x07\0\0"


def prehashed(curve: int, message: bytes) -> bytes:
    if curve == C25519:
        return hashlib.sha512(message).digest()
    return hashlib.shake_256(message).digest(64)


def octets_of(signature: bytes, scheme: bytes) -> bytes:
    """What is in a TPMT_SIGNATURE (Part 2, 11.3.3)."""
    assert signature[:2] == scheme
    return Result(0, None, signature[2:]).sized()


def genuine(curve: int, public: bytes, scheme: bytes, signature: bytes, message: bytes) -> bool:
    """Whether others accept a TPMT_SIGNATURE of a message."""
    octets = octets_of(signature, scheme)
    if scheme == EDDSA:
        LIBRARY[ECC_CURVE(curve)].from_public_bytes(public).verify(octets, message)
        return True
    oracle = ORACLES[ECC_CURVE(curve)]
    return edwards.accepts_hashed(oracle, public, octets, prehashed(curve, message))


def verified(
    tester: Tester, key: int, message: bytes, signature: bytes, hint: bytes = b""
) -> Result:
    started = start_verifying(tester, key, hint=hint)
    assert started.handle is not None, hex(started.rc)
    pieces = [message[at : at + 1000] for at in range(0, len(message), 1000)]
    update(tester, started.handle, *pieces)
    answer = complete_verifying(tester, started.handle, key, signature)
    if answer.rc:
        areas.flush(tester, started.handle)
    return answer


def hint_of(curve: int, scheme: bytes, signature: bytes) -> bytes:
    return octets_of(signature, scheme)[: ED_SIZE[ECC_CURVE(curve)]] if scheme == EDDSA else b""


# Objects


@every_curve
@every_scheme
def test_primary_and_ordinary_objects(pqc: Tester, curve: int, scheme: bytes) -> None:
    """`y` is empty, `x` an encoded point; the private part leaves encrypted and comes back."""
    size = ED_SIZE[ECC_CURVE(curve)]
    template = areas.ecc(OWN | SIGN | NO_DA, scheme=scheme, curve=curve)
    made = areas.create_primary(pqc, template)
    assert made.handle is not None, hex(made.rc)
    assert areas.create_primary(pqc, template).sized(0) == made.sized(0)
    public = made.sized(0)
    assert public[: len(template) - 4] == template[:-4]
    x, y = Result(0, None, public[len(template) - 4 :]).sized(0), public[-2:]
    assert (len(x), y) == (size, sized(b""))
    message = MESSAGE[:1024]
    signature = signed(pqc, made.handle, message)
    assert genuine(curve, x, scheme, signature, message)
    pqc.reset()
    parent = areas.loaded_primary(pqc, areas.storage())
    created = areas.create(pqc, parent, template)
    loaded = areas.load(pqc, parent, created.sized(0), created.sized(1))
    assert loaded.handle is not None, hex(loaded.rc)
    x = created.sized(1)[-2 - size : -2]
    signature = signed(pqc, loaded.handle, message)
    assert genuine(curve, x, scheme, signature, message)


@every_curve
def test_derived_objects(pqc: Tester, curve: int) -> None:
    """A private key is the first of KDFa's octets, as many as RFC 8032 says."""
    secret = bytes(range(32))
    kdf = words(ALG.XOR, ALG.SHA256, ALG.KDF1_SP800_108)
    parent_template = areas.keyedhash(USER_AUTH | STORAGE | NO_DA, scheme=kdf)
    primary = areas.loaded_primary(pqc, areas.storage())
    parent = areas.loaded_child(pqc, primary, parent_template, data=secret)
    template = areas.ecc(
        USER_AUTH | SIGN | NO_DA | areas.FIXED_PARENT,
        scheme=EDDSA,
        curve=curve,
        x=b"label",
        y=b"context",
    )
    params = areas.sensitive_create() + sized(template)
    answer = pqc.run(CC.CREATE_LOADED, [parent], params, [Password()])
    assert answer.rc == 0, hex(answer.rc)
    octets = kdfa(ALG.SHA256, secret, b"label", b"context", b"", 8192)
    key = ED[ECC_CURVE(curve)].from_private_bytes(octets[: ED_SIZE[ECC_CURVE(curve)]])
    public = key.public_key().public_bytes_raw()
    assert answer.sized(1).endswith(sized(public) + sized(b""))


WRONG_SCHEMES = {
    "none": (SIGN, NONE),
    "ECDSA": (SIGN, words(ALG.ECDSA, ALG.SHA256)),
    "none of a restricted one": (SIGN | RESTRICTED, NONE),
    "for both": (SIGN | DECRYPT, NONE),
    "EDDSA for both": (SIGN | DECRYPT, EDDSA),
    "EDDSA that decrypts": (DECRYPT, EDDSA),
    "ECDH that signs": (SIGN, ECDH),
    "exchange without a scheme": (DECRYPT, NONE),
}


@every_curve
@pytest.mark.parametrize("wrong", WRONG_SCHEMES.values(), ids=WRONG_SCHEMES.keys())
def test_keys_have_to_say_what_they_are_for(
    pqc: Tester, curve: int, wrong: tuple[int, bytes]
) -> None:
    attributes, scheme = wrong
    template = areas.ecc(OWN | attributes | NO_DA, scheme=scheme, curve=curve)
    assert areas.create_primary(pqc, template).rc == RC.SCHEME | P2


def test_eddsa_is_for_its_curves(pqc: Tester) -> None:
    for scheme in (EDDSA, HASH_EDDSA):
        template = areas.ecc(OWN | SIGN | NO_DA, scheme=scheme)
        assert areas.create_primary(pqc, template).rc == RC.SCHEME | P2
        key = areas.loaded_external(pqc, *ecc_areas(SIGN))
        params = sized(bytes(32)) + scheme + NULL_TICKET
        assert pqc.run(CC.SIGN, [key], params, [Password()]).rc == RC.SCHEME | P2
        areas.flush(pqc, key)


@every_curve
def test_areas_that_do_not_belong_together(pqc: Tester, curve: int) -> None:
    public, sensitive = octet_areas(curve)
    size = ED_SIZE[ECC_CURVE(curve)]
    other = public[: -2 - size] + bytes((public[-2 - size] ^ 1,)) + public[-1 - size :]
    for area, secret, code in (
        (public, sensitive, 0),
        (other, sensitive, RC.BINDING),
        (public, sensitive[:-1].replace(words(size), words(size - 1)), RC.KEY_SIZE),
        (public[:-2] + sized(b"\1"), sensitive, RC.BINDING),
        (public[:-2] + sized(b"\1"), b"", RC.ECC_POINT | P2),
        (public[: -4 - size] + sized(bytes(size - 1)) + sized(b""), b"", RC.ECC_POINT | P2),
        (public[: -4 - size] + sized(b"\xff" * size) + sized(b""), b"", RC.ECC_POINT | P2),
    ):
        answer = areas.load_external(pqc, area, secret)
        assert answer.rc == code, hex(answer.rc)
        if answer.handle is not None:
            areas.flush(pqc, answer.handle)


def test_objects_survive_saving_persistence_and_duplication(pqc: Tester) -> None:
    template = areas.ecc(OWN | SIGN | NO_DA, scheme=EDDSA, curve=C448)
    key = areas.loaded_primary(pqc, template)
    public = pqc.run(CC.READ_PUBLIC, [key]).sized()[-59:-2]
    saved = pqc.run(CC.CONTEXT_SAVE, [key])
    handle = 0x81000100
    params = handle.to_bytes(4)
    assert pqc.run(CC.EVICT_CONTROL, [RH.OWNER, key], params, [Password()]).rc == 0
    areas.flush(pqc, key)
    loaded = pqc.run(CC.CONTEXT_LOAD, params=saved.parameters).handle
    assert loaded is not None
    assert isinstance(pqc.peer, EnginePeer)
    pqc.peer.carry_over()
    assert genuine(C448, public, EDDSA, signed(pqc, loaded, b"m"), b"m")
    pqc.reset()
    assert genuine(C448, public, EDDSA, signed(pqc, handle, b"m"), b"m")
    parent = areas.loaded_primary(pqc, areas.storage())
    public, sensitive = octet_areas(C25519)
    imported = areas.import_object(pqc, parent, public, sized(sensitive))
    assert imported.rc == 0, hex(imported.rc)
    moved = areas.load(pqc, parent, imported.sized(), public).handle
    assert moved is not None
    signature = signed(pqc, moved, b"m")
    assert genuine(C25519, public_of(C25519, signs=True), EDDSA, signature, b"m")


def test_what_is_reported(pqc: Tester) -> None:
    for alg in (ALG.EDDSA, ALG.HASH_EDDSA):
        params = struct.pack(">III", CAP.ALGS, alg, 1)
        answer = pqc.run(CC.GET_CAPABILITY, params=params).parameters
        assert answer[-6:] == struct.pack(">HI", alg, 0x101), "asymmetric, signing"
    curves = pqc.run(CC.GET_CAPABILITY, params=struct.pack(">III", CAP.ECC_CURVES, 0, 9))
    assert curves.parameters[-14:] == struct.pack(">I5H", 5, 3, 4, 5, 0x40, 0x41)
    params = struct.pack(">III", CAP.TPM_PROPERTIES, PT.LOADED_CURVES, 1)
    answer = pqc.run(CC.GET_CAPABILITY, params=params).parameters
    assert answer[-4:] == (5).to_bytes(4)


def test_the_default_profile_has_none_of_it(tester: Tester) -> None:
    for curve in (C25519, C448):
        template = areas.ecc(OWN | SIGN | NO_DA, scheme=EDDSA, curve=curve)
        assert areas.create_primary(tester, template).rc == RC.SCHEME | P2
        assert tester.run(CC.ECC_PARAMETERS, params=words(curve)).rc == RC.CURVE | P1


# Messages


@every_curve
@every_scheme
def test_signatures_of_messages(pqc: Tester, curve: int, scheme: bytes) -> None:
    """Of any length by HashEdDSA, of one piece by EdDSA, which both can be verified in pieces."""
    key = areas.loaded_external(pqc, *octet_areas(curve, scheme))
    public = public_of(curve, signs=True)
    message = MESSAGE[:1024] if scheme == EDDSA else MESSAGE
    if scheme == EDDSA:
        signature = signed(pqc, key, message)
        octets = signing_key(curve).sign(message)
        assert signature == EDDSA + sized(octets), "deterministic"
    else:
        started = start_signing(pqc, key)
        assert started.handle is not None
        update(pqc, started.handle, message[:1000], message[1000:2000], message[2000:3000])
        answer = complete_signing(pqc, started.handle, key, message[3000:])
        assert answer.rc == 0, hex(answer.rc)
        signature = answer.parameters
    assert genuine(curve, public, scheme, signature, message)
    hint = hint_of(curve, scheme, signature)
    answer = verified(pqc, key, message, signature, hint)
    assert answer.rc == 0, hex(answer.rc)
    assert answer.parameters[:2] == words(0x8026), "TPM_ST_MESSAGE_VERIFIED"
    assert verified(pqc, key, message + b"\0", signature, hint).rc == RC.SIGNATURE | P1
    changed = signature[:-1] + bytes((signature[-1] ^ 1,))
    assert verified(pqc, key, message, changed, hint).rc == RC.SIGNATURE | P1


@every_curve
def test_long_messages_that_others_signed(pqc: Tester, curve: int) -> None:
    key = areas.loaded_external(pqc, octet_areas(curve)[0])
    octets = signing_key(curve).sign(MESSAGE)
    hint = octets[: ED_SIZE[ECC_CURVE(curve)]]
    assert verified(pqc, key, MESSAGE, EDDSA + sized(octets), hint).rc == 0
    wrong = bytes((hint[0] ^ 1,)) + hint[1:]
    answer = verified(pqc, key, MESSAGE, EDDSA + sized(octets), wrong)
    assert answer.rc == RC.SIGNATURE | P1, "the hint is part of the signature"
    for size in (0, len(hint) - 1, len(hint) + 1):
        answer = start_verifying(pqc, key, hint=hint.ljust(size, b"\0")[:size])
        assert answer.rc == RC.SIZE | P2


@every_curve
@pytest.mark.parametrize("verifies", [False, True])
def test_sequences_survive_saving_and_migration(pqc: Tester, curve: int, verifies: bool) -> None:
    assert isinstance(pqc.peer, EnginePeer)
    scheme = EDDSA if verifies else HASH_EDDSA
    key = areas.loaded_external(pqc, *octet_areas(curve, scheme))
    octets = signing_key(curve).sign(MESSAGE)
    hint = octets[: ED_SIZE[ECC_CURVE(curve)]]
    started = start_verifying(pqc, key, hint=hint) if verifies else start_signing(pqc, key)
    assert started.handle is not None
    update(pqc, started.handle, MESSAGE[:1000])
    saved = pqc.run(CC.CONTEXT_SAVE, [started.handle])
    areas.flush(pqc, started.handle)
    sequence = pqc.run(CC.CONTEXT_LOAD, params=saved.parameters).handle
    assert sequence is not None
    pqc.peer.carry_over()
    update(pqc, sequence, MESSAGE[1000:2000], MESSAGE[2000:3000])
    if verifies:
        update(pqc, sequence, MESSAGE[3000:])
        assert complete_verifying(pqc, sequence, key, EDDSA + sized(octets)).rc == 0
        return
    answer = complete_signing(pqc, sequence, key, MESSAGE[3000:])
    public = public_of(curve, signs=True)
    assert genuine(curve, public, HASH_EDDSA, answer.parameters, MESSAGE)


def test_a_message_in_pieces_is_refused(pqc: Tester) -> None:
    """20.6: EdDSA needs it twice."""
    key = areas.loaded_external(pqc, *octet_areas())
    started = start_signing(pqc, key)
    assert started.handle is not None
    update(pqc, started.handle, b"piece")
    answer = complete_signing(pqc, started.handle, key, b"rest")
    assert answer.rc == RC.ONE_SHOT_SIGNATURE | H1


@every_scheme
def test_there_is_no_context(pqc: Tester, scheme: bytes) -> None:
    """Part 2, 11.3.7."""
    key = areas.loaded_external(pqc, *octet_areas(scheme=scheme))
    assert start_signing(pqc, key, context=b"c").rc == RC.SIZE | P2
    assert start_verifying(pqc, key, hint=bytes(32), context=b"c").rc == RC.SIZE | P3


def test_a_key_is_for_one_of_the_two(pqc: Tester) -> None:
    pure = areas.loaded_external(pqc, *octet_areas())
    hashed = areas.loaded_external(pqc, *octet_areas(scheme=HASH_EDDSA))
    signature = signed(pqc, pure, b"message")
    other = HASH_EDDSA + signature[2:]
    assert verified(pqc, hashed, b"message", signature).rc == RC.SCHEME | P1
    hint = hint_of(C25519, EDDSA, signature)
    assert verified(pqc, pure, b"message", other, hint).rc == RC.SCHEME | P1
    digest = hashlib.sha512(b"message").digest()
    assert verify_digest(pqc, hashed, digest, signature).rc == RC.SCHEME | P3


def test_restricted_keys_sign_nothing_that_the_tpm_could_have_made(pqc: Tester) -> None:
    for scheme in (EDDSA, HASH_EDDSA):
        template = areas.ecc(OWN | SIGN | RESTRICTED | NO_DA, scheme=scheme, curve=C25519)
        key = areas.loaded_primary(pqc, template)
        for message, code in ((b"message", 0), (b"\xffTCGmessage", RC.VALUE | P1)):
            started = start_signing(pqc, key)
            assert started.handle is not None
            assert complete_signing(pqc, started.handle, key, message).rc == code
            if code:
                areas.flush(pqc, started.handle)
        areas.flush(pqc, key)


# Digests


@every_curve
def test_a_signed_digest_is_a_signed_message(pqc: Tester, curve: int) -> None:
    key = areas.loaded_external(pqc, *octet_areas(curve, HASH_EDDSA))
    digest = prehashed(curve, MESSAGE)
    signature = sign_digest(pqc, key, digest).parameters
    assert genuine(curve, public_of(curve, signs=True), HASH_EDDSA, signature, MESSAGE)
    answer = verify_digest(pqc, key, digest, signature)
    assert answer.rc == 0
    assert answer.parameters[:2] == words(0x8027), "TPM_ST_DIGEST_VERIFIED"
    assert verify_digest(pqc, key, bytes(64), signature).rc == RC.SIGNATURE | P3
    for size in (0, 32, 63):
        assert sign_digest(pqc, key, digest[:size]).rc == RC.SIZE | P2
        assert verify_digest(pqc, key, digest[:size], signature).rc == RC.SIZE | P2


def test_eddsa_signs_no_digests(pqc: Tester) -> None:
    """Table 115; nor do the deprecated commands know either of the two."""
    pure = areas.loaded_external(pqc, *octet_areas())
    signature = signed(pqc, pure, b"message")
    assert sign_digest(pqc, pure, bytes(64)).rc == RC.SCHEME | H1
    assert verify_digest(pqc, pure, bytes(64), signature).rc == RC.SCHEME | H1
    hashed = areas.loaded_external(pqc, *octet_areas(scheme=HASH_EDDSA))
    for key, scheme in ((pure, EDDSA), (hashed, HASH_EDDSA)):
        for given in (scheme, NONE):
            params = sized(bytes(64)) + given + NULL_TICKET
            assert pqc.run(CC.SIGN, [key], params, [Password()]).rc == RC.SCHEME | P2
        params = sized(bytes(64)) + scheme + signature[2:]
        assert pqc.run(CC.VERIFY_SIGNATURE, [key], params).rc == RC.SCHEME | P2


def ticket_of(tester: Tester, alg: int, message: bytes) -> tuple[bytes, bytes]:
    """(digest, TPMT_TK_HASHCHECK)."""
    params = sized(message) + words(alg) + RH.OWNER.to_bytes(4)
    answer = tester.run(CC.HASH, params=params)
    return answer.sized(0), answer.parameters[2 + len(answer.sized(0)) :]


def test_restricted_keys_sign_what_the_tpm_has_hashed(pqc: Tester) -> None:
    """By SHA-512; a TPM without SHAKE256 has no ticket for a key on Curve448."""
    keys = {}
    for curve in (C25519, C448):
        template = areas.ecc(OWN | SIGN | RESTRICTED | NO_DA, scheme=HASH_EDDSA, curve=curve)
        keys[curve] = areas.loaded_primary(pqc, template)
    digest, ticket = ticket_of(pqc, ALG.SHA512, b"message")
    assert sign_digest(pqc, keys[C25519], digest, ticket=ticket).rc == 0
    assert sign_digest(pqc, keys[C25519], digest).rc == RC.TICKET | P3
    assert sign_digest(pqc, keys[C448], digest, ticket=ticket).rc == RC.TICKET | P3


# Attestation and policies


@every_curve
@every_scheme
def test_attestation(pqc: Tester, curve: int, scheme: bytes) -> None:
    """A quote's pcrDigest is by nameAlg (errata 1, 2.7), for the scheme names no hash."""
    template = areas.ecc(
        OWN | SIGN | RESTRICTED | NO_DA, alg=ALG.SHA384, scheme=scheme, curve=curve
    )
    made = areas.create_primary(pqc, template)
    assert made.handle is not None, hex(made.rc)
    size = ED_SIZE[ECC_CURVE(curve)]
    public, nonce = made.sized(0)[-2 - size : -2], sized(b"nonce")
    for code, handles, params in (
        (CC.QUOTE, [made.handle], nonce + NONE + PCRS),
        (CC.QUOTE, [made.handle], nonce + scheme + PCRS),
        (CC.CERTIFY, [made.handle, made.handle], nonce + NONE),
        (CC.GET_TIME, [int(RH.ENDORSEMENT), made.handle], nonce + NONE),
    ):
        answer = pqc.run(code, handles, params, [Password()] * len(handles))
        assert answer.rc == 0, hex(answer.rc)
        found = Attested(answer)
        assert genuine(curve, public, scheme, found.signature, found.octets)
        if code == CC.QUOTE:
            assert found.octets[-48:] == hashlib.sha384(bytes(3 * 32)).digest(), "PCRs 0 to 2"
    other = HASH_EDDSA if scheme == EDDSA else EDDSA
    answer = pqc.run(CC.QUOTE, [made.handle], nonce + other + PCRS, [Password()])
    assert answer.rc == RC.SCHEME | P2


@every_curve
@every_scheme
def test_policy_signed(pqc: Tester, curve: int, scheme: bytes) -> None:
    """Part 3, 23.3: what is signed is aHash, made with the hash that the scheme does not name."""
    key = areas.loaded_external(pqc, *octet_areas(curve, scheme))
    message = bytes(4)
    if scheme == EDDSA:
        octets = signing_key(curve).sign(message)
    else:
        octets = octets_of(sign_digest(pqc, key, prehashed(curve, message)).parameters, scheme)
    policy = pqc.start_session(1)
    parameters = sized(b"") * 3 + bytes(4)
    good = scheme + sized(octets)
    answer = pqc.run(CC.POLICY_SIGNED, [key, policy.handle], parameters + good)
    assert answer.rc == 0, hex(answer.rc)
    bad = scheme + sized(octets[:-1] + bytes((octets[-1] ^ 1,)))
    answer = pqc.run(CC.POLICY_SIGNED, [key, policy.handle], parameters + bad)
    assert answer.rc == RC.SIGNATURE | 0x540
    other = (HASH_EDDSA if scheme == EDDSA else EDDSA) + sized(octets)
    answer = pqc.run(CC.POLICY_SIGNED, [key, policy.handle], parameters + other)
    assert answer.rc == RC.SCHEME | 0x540


def test_certificates_are_not_for_these_keys(pqc: Tester) -> None:
    subject = areas.loaded_external(pqc, *octet_areas())
    signer = areas.loaded_external(pqc, *ecc_areas(SIGN | areas.X509_SIGN))
    params = sized(b"") + words(ALG.ECDSA, ALG.SHA256) + sized(partial(DIGITAL_SIGNATURE))
    auths = [Password(), Password()]
    answer = pqc.run(CC.CERTIFY_X509, [subject, signer], params, auths)
    assert answer.rc == RC.KEY | H1
    params = sized(b"") + NONE + sized(partial(DIGITAL_SIGNATURE))
    answer = pqc.run(CC.CERTIFY_X509, [signer, subject], params, auths)
    assert answer.rc == RC.SCHEME | H2
