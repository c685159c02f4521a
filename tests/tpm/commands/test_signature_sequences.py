"""Messages of any length, signed and verified in sequences (17.5, 17.6, 20.3 and 20.6)."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, OWN, RESTRICTED, SIGN, STORAGE, X509_SIGN, words
from tests.tpm.harness import EnginePeer, Password, Result, Tester, sized
from tests.tpm.known_keys import (
    HMAC_KEY,
    cipher_areas,
    ecc_areas,
    ecc_key,
    hmac_areas,
    rsa_areas,
    rsa_key,
)
from tests.tpm.seeded_keys import (
    H1,
    H2,
    P1,
    P2,
    P3,
    SIGNERS,
    SIGNING_SEED,
    complete_signing,
    complete_verifying,
    hash_mldsa_areas,
    kem_areas,
    mldsa_areas,
    signed,
    signing_public,
    start_signing,
    start_verifying,
    update,
    verified,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, RH

MESSAGE = b"a message " * 40
PIECES = MESSAGE[:3], MESSAGE[3:300], MESSAGE[300:]
RSASSA, RSAPSS = words(ALG.RSASSA, ALG.SHA256), words(ALG.RSAPSS, ALG.SHA256)
ECDSA, HMAC = words(ALG.ECDSA, ALG.SHA256), words(ALG.HMAC, ALG.SHA256)
ECSCHNORR, ECDAA = words(ALG.ECSCHNORR, ALG.SHA256), words(ALG.ECDAA, ALG.SHA256, 0)
GENERATED = b"\xffTCG"
SIGNING = {
    "RSASSA": rsa_areas(SIGN, RSASSA),
    "RSAPSS": rsa_areas(SIGN, RSAPSS),
    "ECDSA": ecc_areas(SIGN, ECDSA),
    "ECSCHNORR": ecc_areas(SIGN, ECSCHNORR),
    "HMAC": hmac_areas(SIGN, HMAC),
    "MLDSA": mldsa_areas(),
    "MLDSA-65": mldsa_areas(parms=MLDSA_PARMS.MLDSA_65),
    "HASH_MLDSA": hash_mldsa_areas(),
}
"""Keys by the scheme that they have."""


def in_pieces(tester: Tester, key: int, context: bytes = b"") -> bytes:
    """The TPMT_SIGNATURE of MESSAGE, signed in pieces."""
    started = start_signing(tester, key, context=context)
    assert started.handle is not None, hex(started.rc)
    update(tester, started.handle, *PIECES[:-1])
    answer = complete_signing(tester, started.handle, key, PIECES[-1])
    assert answer.rc == 0, hex(answer.rc)
    return answer.parameters


def judged(scheme: str, signature: bytes, context: bytes = b"") -> bool:
    """Whether others accept the TPMT_SIGNATURE of MESSAGE by the key of this scheme."""
    fields = Result(0, None, signature[4:])
    match scheme:
        case "RSASSA" | "RSAPSS":
            rules = {
                "RSASSA": padding.PKCS1v15(),
                "RSAPSS": padding.PSS(padding.MGF1(hashes.SHA256()), 32),
            }
            rsa_key(2048).public_key().verify(
                fields.sized(), MESSAGE, rules[scheme], hashes.SHA256()
            )
            return True
        case "ECDSA":
            r, s = int.from_bytes(fields.sized(0)), int.from_bytes(fields.sized(1))
            octets = encode_dss_signature(r, s)
            ecc_key().public_key().verify(octets, MESSAGE, ec.ECDSA(hashes.SHA256()))
            return True
        case "HMAC":
            return signature[4:] == hmac.digest(HMAC_KEY, MESSAGE, "sha256")
        case "MLDSA" | "MLDSA-65":
            parms = MLDSA_PARMS.MLDSA_44 if scheme == "MLDSA" else MLDSA_PARMS.MLDSA_65
            octets = Result(0, None, signature[2:]).sized()
            public = signing_public(parms)
            accepted: bool = SIGNERS[parms].verify(public, MESSAGE, octets, context)
            return accepted
        case "HASH_MLDSA":
            oid = bytes.fromhex("0609608648016503040201")
            head = b"\1" + bytes((len(context),)) + context + oid
            formatted = head + hashlib.sha256(MESSAGE).digest()
            public = signing_public()
            oracle = SIGNERS[MLDSA_PARMS.MLDSA_44]
            accepted = oracle._verify_internal(public, formatted, fields.sized())
            return accepted
    raise AssertionError(scheme)


@pytest.mark.parametrize("scheme", [name for name in SIGNING if name != "ECSCHNORR"])
def test_others_accept_what_was_signed_in_pieces(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    assert judged(scheme, in_pieces(pqc, key))


@pytest.mark.parametrize("scheme", ["MLDSA", "HASH_MLDSA"])
def test_the_context_is_signed(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    for context in (b"context", bytes(255)):
        signature = in_pieces(pqc, key, context)
        assert judged(scheme, signature, context)
        assert not judged(scheme, signature)
        assert verified(pqc, key, MESSAGE, signature, context).rc == 0
        assert verified(pqc, key, MESSAGE, signature).rc == RC.SIGNATURE | P1


@pytest.mark.parametrize("scheme", SIGNING)
def test_the_tpm_verifies_messages(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    signature = in_pieces(pqc, key)
    started = start_verifying(pqc, key)
    assert started.handle is not None
    update(pqc, started.handle, *PIECES)
    assert complete_verifying(pqc, started.handle, key, signature).rc == 0
    assert verified(pqc, key, MESSAGE + b"x", signature).rc == RC.SIGNATURE | P1
    changed = signature[:-1] + bytes((signature[-1] ^ 1,))
    assert verified(pqc, key, MESSAGE, changed).rc == RC.SIGNATURE | P1


def test_the_tpm_verifies_what_others_signed(pqc: Tester) -> None:
    _, private = SIGNERS[MLDSA_PARMS.MLDSA_44].key_derive(SIGNING_SEED)
    octets = SIGNERS[MLDSA_PARMS.MLDSA_44].sign(private, MESSAGE, b"context")
    key = areas.loaded_external(pqc, mldsa_areas()[0])
    signature = words(ALG.MLDSA) + sized(octets)
    assert verified(pqc, key, MESSAGE, signature, b"context").rc == 0
    assert verified(pqc, key, MESSAGE, signature, b"other").rc == RC.SIGNATURE | P1


def test_a_completed_sequence_is_gone_and_a_failed_one_is_not(pqc: Tester) -> None:
    """Part 1, 29.4.6: flushed when it completes successfully."""
    key = areas.loaded_external(pqc, *SIGNING["MLDSA"])
    signature = signed(pqc, key, MESSAGE)
    started = start_verifying(pqc, key)
    assert started.handle is not None
    update(pqc, started.handle, MESSAGE)
    wrong = signature[:-1] + bytes((signature[-1] ^ 1,))
    assert complete_verifying(pqc, started.handle, key, wrong).rc == RC.SIGNATURE | P1
    assert complete_verifying(pqc, started.handle, key, signature).rc == 0
    gone = pqc.run(CC.SEQUENCE_UPDATE, [started.handle], sized(b""), [Password()])
    assert gone.rc == RC.REFERENCE_H0


@pytest.mark.parametrize("scheme", SIGNING)
def test_sequences_survive_saving_and_migration(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    handles = [start_signing(pqc, key).handle, start_verifying(pqc, key).handle]
    for number, handle in enumerate(handles):
        assert handle is not None
        update(pqc, handle, *PIECES[:2])
        saved = pqc.run(CC.CONTEXT_SAVE, [handle])
        areas.flush(pqc, handle)
        loaded = pqc.run(CC.CONTEXT_LOAD, params=saved.parameters)
        assert loaded.rc == 0, hex(loaded.rc)
        handles[number] = loaded.handle
    assert isinstance(pqc.peer, EnginePeer)
    pqc.peer.carry_over()
    signing, verifying = handles
    assert signing is not None
    assert verifying is not None
    signature = complete_signing(pqc, signing, key, PIECES[2])
    assert signature.rc == 0
    update(pqc, verifying, PIECES[2])
    assert complete_verifying(pqc, verifying, key, signature.parameters).rc == 0


def test_sequences_have_an_auth_value_of_their_own(pqc: Tester) -> None:
    """And no dictionary attack protection (Part 1, 29.4.6)."""
    key = areas.loaded_external(pqc, *SIGNING["MLDSA"])
    for started in (
        start_signing(pqc, key, auth=b"secret\0\0"),
        start_verifying(pqc, key, auth=b"secret"),
    ):
        handle = started.handle
        assert handle is not None
        refused = pqc.run(CC.SEQUENCE_UPDATE, [handle], sized(b""), [Password(b"x")])
        assert refused.rc == RC.BAD_AUTH | 0x900
        right = pqc.run(CC.SEQUENCE_UPDATE, [handle], sized(b"abcd"), [Password(b"secret")])
        assert right.rc == 0
        public = pqc.run(CC.READ_PUBLIC, [handle])
        assert public.rc == RC.SEQUENCE
        areas.flush(pqc, handle)


def test_starting_needs_no_authorization_and_completing_does(pqc: Tester) -> None:
    """17.5: that of the key is checked by SignSequenceComplete."""
    template = areas.mldsa(OWN | SIGN | NO_DA)
    key = areas.loaded_primary(pqc, template, auth=b"secret")
    started = start_signing(pqc, key)
    assert started.handle is not None
    assert complete_signing(pqc, started.handle, key).rc == RC.BAD_AUTH | 0xA00
    auths = [Password(), Password(b"secret")]
    handles = [started.handle, key]
    assert pqc.run(CC.SIGN_SEQUENCE_COMPLETE, handles, sized(b""), auths).rc == 0


def test_verification_needs_no_authorization_of_the_key(pqc: Tester) -> None:
    public, _ = mldsa_areas()
    key = areas.loaded_external(pqc, *SIGNING["MLDSA"])
    signature = signed(pqc, key, MESSAGE)
    areas.flush(pqc, key)
    assert verified(pqc, areas.loaded_external(pqc, public), MESSAGE, signature).rc == 0


NOT_SIGNING = {
    "for decryption": rsa_areas(DECRYPT),
    "KEM": kem_areas(),
    "data": hmac_areas(0),
    "cipher": cipher_areas(SIGN),
}


@pytest.mark.parametrize("pair", NOT_SIGNING.values(), ids=NOT_SIGNING.keys())
def test_keys_that_do_not_sign(pqc: Tester, pair: tuple[bytes, bytes]) -> None:
    key = areas.loaded_external(pqc, *pair)
    assert start_signing(pqc, key).rc == RC.KEY | H1
    assert start_verifying(pqc, key).rc == RC.KEY | H1


@pytest.mark.parametrize("pair", [rsa_areas(SIGN), ecc_areas(SIGN), rsa_areas(SIGN | DECRYPT)])
def test_keys_without_a_scheme(pqc: Tester, pair: tuple[bytes, bytes]) -> None:
    key = areas.loaded_external(pqc, *pair)
    assert start_signing(pqc, key).rc == RC.SCHEME | H1
    assert start_verifying(pqc, key).rc == RC.SCHEME | H1


@pytest.mark.parametrize("scheme", ["RSASSA", "ECDSA", "HMAC"])
def test_schemes_without_a_context(pqc: Tester, scheme: str) -> None:
    """Part 2, 11.3.7: all others have none."""
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    assert start_signing(pqc, key, context=b"c").rc == RC.SIZE | P2
    assert start_verifying(pqc, key, context=b"c").rc == RC.SIZE | P3


def test_a_context_longer_than_255_octets(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *SIGNING["MLDSA"])
    assert start_signing(pqc, key, context=bytes(256)).rc == RC.SIZE | P2
    assert start_verifying(pqc, key, context=bytes(256)).rc == RC.SIZE | P3


@pytest.mark.parametrize("scheme", SIGNING)
def test_hints_are_for_eddsa_only(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *SIGNING[scheme])
    assert start_verifying(pqc, key, hint=b"R").rc == RC.SIZE | P2


def test_the_key_has_to_be_the_one_of_the_start(pqc: Tester) -> None:
    public, sensitive = mldsa_areas()
    key = areas.loaded_external(pqc, public, sensitive)
    other = areas.loaded_external(pqc, *mldsa_areas(SIGN, alg=ALG.SHA384))
    started = start_signing(pqc, key)
    assert started.handle is not None
    assert complete_signing(pqc, started.handle, other).rc == RC.SIGN_CONTEXT_KEY | H2
    signature = complete_signing(pqc, started.handle, key).parameters
    started = start_verifying(pqc, other)
    assert started.handle is not None
    answer = complete_verifying(pqc, started.handle, key, signature)
    assert answer.rc == RC.SIGN_CONTEXT_KEY | H2


def test_keys_without_names_are_told_apart(pqc: Tester) -> None:
    """Nothing binds their areas: two HMAC keys may show the same public area."""
    public = areas.keyedhash(areas.USER_AUTH | NO_DA | SIGN, alg=ALG.NULL, scheme=HMAC, unique=b"")
    keys = [
        areas.loaded_external(pqc, public, areas.sensitive(ALG.KEYEDHASH, secret))
        for secret in (b"one", b"other")
    ]
    started = start_signing(pqc, keys[0])
    assert started.handle is not None
    answer = complete_signing(pqc, started.handle, keys[1])
    assert answer.rc == RC.SIGN_CONTEXT_KEY | H2


def test_keys_in_other_hierarchies_are_others(pqc: Tester) -> None:
    """The ticket is by the hierarchy of the key that the sequence was started with."""
    public, _ = mldsa_areas()
    owner = areas.load_external(pqc, public, hierarchy=RH.OWNER).handle
    platform = areas.load_external(pqc, public, hierarchy=RH.PLATFORM).handle
    assert owner is not None
    assert platform is not None
    started = start_verifying(pqc, owner)
    assert started.handle is not None
    signature = words(ALG.MLDSA) + sized(bytes(2420))
    answer = complete_verifying(pqc, started.handle, platform, signature)
    assert answer.rc == RC.SIGN_CONTEXT_KEY | H2


def test_kinds_of_sequences_are_not_mixed_up(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *SIGNING["ECDSA"])
    signature = signed(pqc, key, MESSAGE)
    signing, verifying = start_signing(pqc, key).handle, start_verifying(pqc, key).handle
    assert signing is not None
    assert verifying is not None
    assert complete_signing(pqc, verifying, key).rc == RC.MODE | H1
    assert complete_verifying(pqc, signing, key, signature).rc == RC.MODE | H1
    assert complete_signing(pqc, key, key).rc == RC.MODE | H1
    last = sized(b"") + RH.OWNER.to_bytes(4)
    for handle in (signing, verifying):
        hashed = pqc.run(CC.SEQUENCE_COMPLETE, [handle], last, [Password()])
        assert hashed.rc == RC.MODE | H1
        auths = [Password(), Password()]
        event = pqc.run(CC.EVENT_SEQUENCE_COMPLETE, [16, handle], sized(b""), auths)
        assert event.rc == RC.MODE | H2
    areas.flush(pqc, signing, verifying)
    params = sized(b"") + words(ALG.SHA256)
    hashing = pqc.run(CC.HASH_SEQUENCE_START, params=params).handle
    assert hashing is not None
    assert complete_signing(pqc, hashing, key).rc == RC.MODE | H1
    assert complete_verifying(pqc, hashing, key, signature).rc == RC.MODE | H1


def test_keys_for_certificates_sign_no_messages(pqc: Tester) -> None:
    """20.6; refused at the start already (errata 1, 2.2)."""
    for pair in (mldsa_areas(SIGN | X509_SIGN), ecc_areas(SIGN | X509_SIGN, ECDSA)):
        key = areas.loaded_external(pqc, *pair)
        assert start_signing(pqc, key).rc == RC.ATTRIBUTES | H1
        assert start_verifying(pqc, key).rc == 0
        pqc.reset()


RESTRICTED_KEYS = {
    "MLDSA": areas.mldsa(OWN | SIGN | RESTRICTED | NO_DA),
    "HASH_MLDSA": areas.hash_mldsa(OWN | SIGN | RESTRICTED | NO_DA),
    "ECDSA": areas.ecc(OWN | SIGN | RESTRICTED | NO_DA, scheme=ECDSA),
}


@pytest.mark.parametrize("template", RESTRICTED_KEYS.values(), ids=RESTRICTED_KEYS.keys())
def test_restricted_keys_sign_nothing_that_the_tpm_could_have_made(
    pqc: Tester, template: bytes
) -> None:
    key = areas.loaded_primary(pqc, template)
    for first, rest, code in (
        (None, b"", 0),
        (None, b"abc", 0),
        (None, GENERATED, RC.VALUE | P1),
        (None, GENERATED + b"more", RC.VALUE | P1),
        (b"abcd", GENERATED, 0),
        (GENERATED, b"abcd", RC.VALUE | P1),
        # 17.7: the first block has at least four octets.
        (GENERATED[:3], GENERATED[3:], RC.VALUE | P1),
        (b"abc", b"d", RC.VALUE | P1),
    ):
        started = start_signing(pqc, key)
        assert started.handle is not None
        if first is not None:
            update(pqc, started.handle, first)
        assert complete_signing(pqc, started.handle, key, rest).rc == code, (first, rest)
        if code:
            areas.flush(pqc, started.handle)


def test_others_may_sign_anything(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *SIGNING["MLDSA"])
    assert verified(pqc, key, GENERATED, signed(pqc, key, GENERATED)).rc == 0


def test_restricted_hmac_keys_sign_no_messages(pqc: Tester) -> None:
    """20.6: they sign digests, and there is no validation parameter."""
    key = areas.loaded_primary(pqc, areas.keyedhash(OWN | SIGN | RESTRICTED | NO_DA, scheme=HMAC))
    assert start_signing(pqc, key).rc == RC.ATTRIBUTES | H1


def test_an_hmac_key_of_which_only_the_public_area_is_loaded(pqc: Tester) -> None:
    """20.3: both portions need to be loaded."""
    key = areas.loaded_external(pqc, hmac_areas(SIGN, HMAC)[0])
    assert start_verifying(pqc, key).rc == RC.HANDLE | H1


def test_signatures_by_another_scheme(pqc: Tester) -> None:
    others = {
        "MLDSA": words(ALG.HASH_MLDSA, ALG.SHA256) + sized(bytes(2420)),
        "HASH_MLDSA": words(ALG.HASH_MLDSA, ALG.SHA384) + sized(bytes(2420)),
        "ECDSA": words(ALG.ECDSA, ALG.SHA384) + sized(bytes(32)) * 2,
        "RSASSA": words(ALG.RSAPSS, ALG.SHA256) + sized(bytes(256)),
        "HMAC": words(ALG.HMAC, ALG.SHA384) + bytes(48),
    }
    for scheme, signature in others.items():
        key = areas.loaded_external(pqc, *SIGNING[scheme])
        assert verified(pqc, key, MESSAGE, signature).rc == RC.SCHEME | P1, scheme
        areas.flush(pqc, key)


def test_anonymous_signatures_take_a_counter_and_are_not_verified(pqc: Tester) -> None:
    """17.5: context has the counter of TPM2_Commit; Part 1, 44.3.3.1."""
    key = areas.loaded_external(pqc, *ecc_areas(SIGN, ECDAA))
    assert start_verifying(pqc, key, context=bytes(2)).rc == RC.SCHEME | H1
    for context in (b"", b"\0", bytes(3)):
        assert start_signing(pqc, key, context=context).rc == RC.SIZE | P2
    commit = sized(words(0, 0)) + words(0) + words(0)
    answer = pqc.run(CC.COMMIT, [key], commit, [Password()])
    assert answer.rc == 0, hex(answer.rc)
    counter = answer.parameters[-2:]
    started = start_signing(pqc, key, context=counter)
    assert started.handle is not None
    answer = complete_signing(pqc, started.handle, key, MESSAGE)
    assert answer.rc == 0
    assert answer.parameters[:4] == words(ALG.ECDAA, ALG.SHA256)
    again = start_signing(pqc, key, context=counter)
    assert again.handle is not None
    refused = complete_signing(pqc, again.handle, key, MESSAGE)
    assert refused.rc == RC.VALUE, "the commitment is used up"


def test_slots_are_needed(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *SIGNING["ECDSA"])
    assert start_signing(pqc, key).rc == start_verifying(pqc, key).rc == 0
    assert start_signing(pqc, key).rc == start_verifying(pqc, key).rc == RC.OBJECT_MEMORY


def test_the_deprecated_commands_do_not_know_mldsa(pqc: Tester) -> None:
    """Table 115."""
    null = words(0x8024) + RH.NULL.to_bytes(4) + words(0)
    for pair, signature in (
        (mldsa_areas(external_mu=True), words(ALG.MLDSA) + sized(bytes(2420))),
        (hash_mldsa_areas(), words(ALG.HASH_MLDSA, ALG.SHA256) + sized(bytes(2420))),
    ):
        key = areas.loaded_external(pqc, *pair)
        sign = sized(bytes(32)) + areas.NONE + null
        assert pqc.run(CC.SIGN, [key], sign, [Password()]).rc == RC.SCHEME | P2
        verify = sized(bytes(32)) + signature
        assert pqc.run(CC.VERIFY_SIGNATURE, [key], verify).rc == RC.SCHEME | P2
        areas.flush(pqc, key)


def test_the_default_profile_has_no_such_command(tester: Tester) -> None:
    for code in (
        CC.SIGN_SEQUENCE_START,
        CC.SIGN_SEQUENCE_COMPLETE,
        CC.VERIFY_SEQUENCE_START,
        CC.VERIFY_SEQUENCE_COMPLETE,
        CC.SIGN_DIGEST,
        CC.VERIFY_DIGEST_SIGNATURE,
    ):
        assert tester.run(code).rc == RC.COMMAND_CODE


def test_storage_keys_sign_nothing(pqc: Tester) -> None:
    key = areas.loaded_primary(pqc, areas.mlkem(OWN | STORAGE | NO_DA, symmetric=areas.AES_128_CFB))
    assert start_signing(pqc, key).rc == RC.KEY | H1
