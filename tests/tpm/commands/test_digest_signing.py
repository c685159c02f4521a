"""Digests and mu, signed and verified by the key's own scheme (20.4 and 20.7); tickets."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from tests.tpm import areas
from tests.tpm.areas import NO_DA, OWN, RESTRICTED, SIGN, X509_SIGN, words
from tests.tpm.harness import Password, Result, Tester, digest, sized
from tests.tpm.known_keys import ecc_areas, ecc_key, hmac_areas, rsa_areas
from tests.tpm.seeded_keys import (
    H1,
    NULL_TICKET,
    P1,
    P2,
    P3,
    SIGNERS,
    SIGNING_SEED,
    complete_verifying,
    hash_mldsa_areas,
    kem_areas,
    mldsa_areas,
    sign_digest,
    signed,
    signing_public,
    start_verifying,
    update,
    verified,
    verify_digest,
)
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, MLDSA_PARMS, RH, SE, ST

MESSAGE = b"message"
DIGEST = hashlib.sha256(MESSAGE).digest()
ECDSA, HMAC = words(ALG.ECDSA, ALG.SHA256), words(ALG.HMAC, ALG.SHA256)
RSASSA, ECDAA = words(ALG.RSASSA, ALG.SHA256), words(ALG.ECDAA, ALG.SHA256, 0)
ORACLE = SIGNERS[MLDSA_PARMS.MLDSA_44]
DIGESTS = {
    "ECDSA": ecc_areas(SIGN, ECDSA),
    "RSASSA": rsa_areas(SIGN, RSASSA),
    "HASH_MLDSA": hash_mldsa_areas(),
}


def mu(context: bytes = b"", message: bytes = MESSAGE) -> bytes:
    """Of a message for the key of SIGNING_SEED."""
    found: bytes = ORACLE.prehash_external_mu(signing_public(), message, context)
    return found


@pytest.mark.parametrize("scheme", DIGESTS)
def test_a_signed_digest_is_a_signed_message(pqc: Tester, scheme: str) -> None:
    key = areas.loaded_external(pqc, *DIGESTS[scheme])
    answer = sign_digest(pqc, key, DIGEST)
    assert answer.rc == 0
    assert verify_digest(pqc, key, DIGEST, answer.parameters).rc == 0
    assert verified(pqc, key, MESSAGE, answer.parameters).rc == 0
    by_message = signed(pqc, key, MESSAGE)
    assert verify_digest(pqc, key, DIGEST, by_message).rc == 0
    assert verify_digest(pqc, key, bytes(32), by_message).rc == RC.SIGNATURE | P3


def test_others_accept_a_signed_digest(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *DIGESTS["ECDSA"])
    fields = Result(0, None, sign_digest(pqc, key, DIGEST).parameters[4:])
    r, s = int.from_bytes(fields.sized(0)), int.from_bytes(fields.sized(1))
    rule = ec.ECDSA(Prehashed(hashes.SHA256()))
    ecc_key().public_key().verify(encode_dss_signature(r, s), DIGEST, rule)


def test_external_mu(pqc: Tester) -> None:
    """Part 1, 46.3: the digest is mu of FIPS 204, Algorithm 7, line 6."""
    key = areas.loaded_external(pqc, *mldsa_areas(external_mu=True))
    answer = sign_digest(pqc, key, mu(b"context"))
    assert answer.rc == 0, hex(answer.rc)
    octets = Result(0, None, answer.parameters[2:]).sized()
    assert ORACLE.verify(signing_public(), MESSAGE, octets, b"context")
    assert verify_digest(pqc, key, mu(b"context"), answer.parameters).rc == 0
    assert verify_digest(pqc, key, mu(), answer.parameters).rc == RC.SIGNATURE | P3
    _, private = ORACLE.key_derive(SIGNING_SEED)
    signature = words(ALG.MLDSA) + sized(ORACLE.sign_external_mu(private, mu()))
    assert verify_digest(pqc, key, mu(), signature).rc == 0


def test_a_ticket_for_mu_is_null(pqc: Tester) -> None:
    """Errata 1, 2.5: nobody could tell from it what message was signed."""
    public, _ = mldsa_areas(external_mu=True)
    signer = areas.loaded_external(pqc, *mldsa_areas(external_mu=True))
    signature = sign_digest(pqc, signer, mu()).parameters
    key = areas.load_external(pqc, public, hierarchy=RH.OWNER).handle
    assert key is not None
    ticket = verify_digest(pqc, key, mu(), signature).parameters
    assert ticket == words(ST.DIGEST_VERIFIED) + RH.NULL.to_bytes(4) + areas.NONE + words(0)


def test_keys_that_do_not_permit_external_mu(pqc: Tester) -> None:
    """Part 2, 12.2.3.6."""
    key = areas.loaded_external(pqc, *mldsa_areas())
    signature = signed(pqc, key, MESSAGE)
    assert sign_digest(pqc, key, mu()).rc == RC.EXT_MU | H1
    assert verify_digest(pqc, key, mu(), signature).rc == RC.EXT_MU | H1


def test_restricted_mldsa_keys_sign_no_mu(pqc: Tester) -> None:
    """20.7: whatever allowExternalMu is."""
    template = areas.mldsa(OWN | SIGN | RESTRICTED | NO_DA, external_mu=True)
    key = areas.loaded_primary(pqc, template)
    assert sign_digest(pqc, key, bytes(64)).rc == RC.ATTRIBUTES | H1


def test_the_context_of_a_hashed_message(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *hash_mldsa_areas())
    answer = sign_digest(pqc, key, DIGEST, context=b"context")
    assert answer.rc == 0
    assert verify_digest(pqc, key, DIGEST, answer.parameters, context=b"context").rc == 0
    assert verify_digest(pqc, key, DIGEST, answer.parameters).rc == RC.SIGNATURE | P3
    head = b"\1\7context" + bytes.fromhex("0609608648016503040201")
    octets = Result(0, None, answer.parameters[4:]).sized()
    assert ORACLE._verify_internal(signing_public(), head + DIGEST, octets)


@pytest.mark.parametrize(
    "pair", [mldsa_areas(external_mu=True), ecc_areas(SIGN, ECDSA), rsa_areas(SIGN, RSASSA)]
)
def test_schemes_without_a_context(pqc: Tester, pair: tuple[bytes, bytes]) -> None:
    """mu includes one already."""
    key = areas.loaded_external(pqc, *pair)
    kind = int.from_bytes(pair[0][:2])
    value = mu() if kind == ALG.MLDSA else DIGEST
    signature = sign_digest(pqc, key, value).parameters
    assert sign_digest(pqc, key, value, context=b"c").rc == RC.SIZE | P1
    assert verify_digest(pqc, key, value, signature, context=b"c").rc == RC.SIZE | P1


@pytest.mark.parametrize("scheme", [*DIGESTS, "MLDSA"])
def test_digests_of_another_size(pqc: Tester, scheme: str) -> None:
    pair = mldsa_areas(external_mu=True) if scheme == "MLDSA" else DIGESTS[scheme]
    key = areas.loaded_external(pqc, *pair)
    value = mu() if scheme == "MLDSA" else DIGEST
    signature = sign_digest(pqc, key, value).parameters
    for wrong in (b"", value[:-1], value[:20], bytes(48)):
        assert sign_digest(pqc, key, wrong).rc == RC.SIZE | P2
        assert verify_digest(pqc, key, wrong, signature).rc == RC.SIZE | P2


NO_DIGESTS = {
    "HMAC": (hmac_areas(SIGN, HMAC), RC.SCHEME),
    "no scheme": (ecc_areas(SIGN), RC.SCHEME),
    "RSA without scheme": (rsa_areas(SIGN), RC.SCHEME),
    "KEM": (kem_areas(), RC.KEY),
    "data": (hmac_areas(0), RC.KEY),
}


@pytest.mark.parametrize(("pair", "code"), NO_DIGESTS.values(), ids=NO_DIGESTS.keys())
def test_keys_that_sign_no_digests(pqc: Tester, pair: tuple[bytes, bytes], code: RC) -> None:
    key = areas.loaded_external(pqc, *pair)
    assert sign_digest(pqc, key, DIGEST).rc == code | H1
    signature = HMAC + bytes(32)
    assert verify_digest(pqc, key, DIGEST, signature).rc == code | H1


def test_keys_for_certificates_sign_no_digests(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *ecc_areas(SIGN | X509_SIGN, ECDSA))
    assert sign_digest(pqc, key, DIGEST).rc == RC.ATTRIBUTES | H1


@pytest.mark.parametrize(
    ("pair", "signature"),
    [
        (ecc_areas(SIGN, ECDSA), words(ALG.ECDSA, ALG.SHA384) + sized(bytes(32)) * 2),
        (ecc_areas(SIGN, ECDSA), words(ALG.ECSCHNORR, ALG.SHA256) + sized(bytes(32)) * 2),
        (rsa_areas(SIGN, RSASSA), words(ALG.RSAPSS, ALG.SHA256) + sized(bytes(256))),
        (hash_mldsa_areas(), words(ALG.MLDSA) + sized(bytes(2420))),
        (hash_mldsa_areas(), words(ALG.HASH_MLDSA, ALG.SHA384) + sized(bytes(2420))),
    ],
)
def test_signatures_by_another_scheme(
    pqc: Tester, pair: tuple[bytes, bytes], signature: bytes
) -> None:
    """20.4: the scheme, including the hash, is that of the key."""
    key = areas.loaded_external(pqc, *pair)
    assert verify_digest(pqc, key, DIGEST, signature).rc == RC.SCHEME | P3


def ticket_of(tester: Tester, message: bytes) -> tuple[bytes, bytes]:
    """(SHA-256 digest, TPMT_TK_HASHCHECK) of TPM2_Hash in the owner hierarchy."""
    params = sized(message) + words(ALG.SHA256) + RH.OWNER.to_bytes(4)
    answer = tester.run(CC.HASH, params=params)
    return answer.sized(), answer.parameters[2 + 32 :]


@pytest.mark.parametrize(
    "template",
    [
        areas.ecc(OWN | SIGN | RESTRICTED | NO_DA, scheme=ECDSA),
        areas.hash_mldsa(OWN | SIGN | RESTRICTED | NO_DA),
    ],
)
def test_restricted_keys_sign_what_the_tpm_has_hashed(pqc: Tester, template: bytes) -> None:
    key = areas.loaded_primary(pqc, template)
    value, ticket = ticket_of(pqc, MESSAGE)
    assert sign_digest(pqc, key, value, ticket=ticket).rc == 0
    assert sign_digest(pqc, key, value).rc == RC.TICKET | P3
    assert sign_digest(pqc, key, bytes(32), ticket=ticket).rc == RC.TICKET | P3
    unsafe, null = ticket_of(pqc, b"\xffTCG")
    assert sign_digest(pqc, key, unsafe, ticket=null).rc == RC.TICKET | P3


def test_a_ticket_that_is_given_is_checked(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *hash_mldsa_areas())
    wrong = words(ST.HASHCHECK) + RH.OWNER.to_bytes(4) + sized(bytes(64))
    assert sign_digest(pqc, key, DIGEST, ticket=wrong).rc == RC.TICKET | P3
    assert sign_digest(pqc, key, DIGEST, ticket=NULL_TICKET).rc == 0


def test_an_anonymous_signature_of_a_digest(pqc: Tester) -> None:
    key = areas.loaded_external(pqc, *ecc_areas(SIGN, ECDAA))
    assert sign_digest(pqc, key, DIGEST).rc == RC.SIZE | P1
    commit = sized(words(0, 0)) + words(0) + words(0)
    counter = pqc.run(CC.COMMIT, [key], commit, [Password()]).parameters[-2:]
    assert sign_digest(pqc, key, DIGEST, context=counter).rc == 0
    assert sign_digest(pqc, key, DIGEST, context=counter).rc == RC.VALUE


# Tickets and the policies that they are for (Part 2, 10.6.5; Part 3, 23.16)

APPROVED = bytes(32)
REFERENCE = b"reference"


def approval(tester: Tester, pair: tuple[bytes, bytes], *, whole: bool) -> tuple[bytes, bytes]:
    """(Name, TPMT_TK_VERIFIED) of a key that has approved of the empty policy.

    Verified as a message if `whole`, else as a digest.
    """
    signer = areas.loaded_external(tester, *pair)
    signature = signed(tester, signer, APPROVED + REFERENCE)
    areas.flush(tester, signer)
    key = areas.load_external(tester, pair[0], hierarchy=RH.OWNER).handle
    assert key is not None
    if whole:
        answer = verified(tester, key, APPROVED + REFERENCE, signature)
    else:
        value = digest(ALG.SHA256, APPROVED + REFERENCE)
        answer = verify_digest(tester, key, value, signature)
    assert answer.rc == 0, hex(answer.rc)
    name = tester.name(key)
    areas.flush(tester, key)
    tester.names.clear()
    return name, answer.parameters


def authorize(tester: Tester, name: bytes, ticket: bytes, reference: bytes = REFERENCE) -> int:
    """The response code of TPM2_PolicyAuthorize in a new session."""
    session = tester.start_session(SE.POLICY)
    params = sized(APPROVED) + sized(reference) + sized(name) + ticket
    rc = tester.run(CC.POLICY_AUTHORIZE, [session.handle], params).rc
    areas.flush(tester, session.handle)
    return rc


KINDS = {
    "MLDSA": (mldsa_areas(), True),
    "MLDSA named by SHA-384": (mldsa_areas(alg=ALG.SHA384), True),
    "HASH_MLDSA": (hash_mldsa_areas(), True),
    "HASH_MLDSA, digest": (hash_mldsa_areas(), False),
    "ECDSA": (ecc_areas(SIGN, ECDSA), True),
    "ECDSA, digest": (ecc_areas(SIGN, ECDSA), False),
    "HMAC": (hmac_areas(SIGN, HMAC), True),
}


@pytest.mark.parametrize(("pair", "whole"), KINDS.values(), ids=KINDS.keys())
def test_policies_take_the_tickets(pqc: Tester, pair: tuple[bytes, bytes], whole: bool) -> None:
    if int.from_bytes(pair[0][:2]) == ALG.KEYEDHASH:
        name = areas.name_of(pair[0])
        key = areas.loaded_primary(pqc, areas.keyedhash(OWN | SIGN | NO_DA, scheme=HMAC))
        signature = signed(pqc, key, APPROVED + REFERENCE)
        ticket = verified(pqc, key, APPROVED + REFERENCE, signature).parameters
        name = pqc.name(key)
        areas.flush(pqc, key)
    else:
        name, ticket = approval(pqc, pair, whole=whole)
    tag = ST.MESSAGE_VERIFIED if whole else ST.DIGEST_VERIFIED
    assert ticket[:6] == words(tag) + RH.OWNER.to_bytes(4)
    assert authorize(pqc, name, ticket) == 0
    assert authorize(pqc, name, ticket, b"other") != 0
    assert authorize(pqc, name[:-1] + bytes((name[-1] ^ 1,)), ticket) != 0


def test_a_digest_by_another_hash_than_the_names(pqc: Tester) -> None:
    """Only tickets of VerifySignature are taken to be by nameAlg (23.16.2)."""
    key = hash_mldsa_areas(hash_alg=ALG.SHA384)
    signer = areas.loaded_external(pqc, *key)
    value = digest(ALG.SHA384, APPROVED + REFERENCE)
    signature = sign_digest(pqc, signer, value).parameters
    areas.flush(pqc, signer)
    handle = areas.load_external(pqc, key[0], hierarchy=RH.OWNER).handle
    assert handle is not None
    ticket = verify_digest(pqc, handle, value, signature).parameters
    name = pqc.name(handle)
    assert ticket[6:8] == words(ALG.SHA384)
    assert authorize(pqc, name, ticket) == 0
    as_sha256 = ticket[:6] + words(ALG.SHA256) + ticket[8:]
    assert authorize(pqc, name, as_sha256) != 0


def test_tickets_of_no_hierarchy_are_null(pqc: Tester) -> None:
    """20.3: the Empty Buffer; so for keys without a Name."""
    signer = areas.loaded_external(pqc, *mldsa_areas())
    signature = signed(pqc, signer, MESSAGE)
    null = words(ST.MESSAGE_VERIFIED) + RH.NULL.to_bytes(4) + words(0)
    assert verified(pqc, signer, MESSAGE, signature).parameters == null
    nameless = areas.mldsa(SIGN, alg=ALG.NULL, unique=signing_public())
    key = areas.load_external(pqc, nameless, hierarchy=RH.OWNER).handle
    assert key is not None
    assert verified(pqc, key, MESSAGE, signature).parameters == null


def test_a_ticket_ends_with_the_proof_of_its_hierarchy(pqc: Tester) -> None:
    """Also one of a sequence that was begun before TPM2_Clear."""
    pair = mldsa_areas()
    signer = areas.loaded_external(pqc, *pair)
    signature = signed(pqc, signer, APPROVED + REFERENCE)
    areas.flush(pqc, signer)
    key = areas.load_external(pqc, pair[0], hierarchy=RH.OWNER).handle
    assert key is not None
    started = start_verifying(pqc, key)
    assert started.handle is not None
    update(pqc, started.handle, APPROVED + REFERENCE)
    assert pqc.run(CC.CLEAR, [RH.LOCKOUT], auths=[Password()]).rc == 0
    pqc.names.clear()
    again = areas.load_external(pqc, pair[0], hierarchy=RH.OWNER).handle
    assert again is not None
    answer = complete_verifying(pqc, started.handle, again, signature)
    assert answer.rc == 0
    assert authorize(pqc, pqc.name(again), answer.parameters) == RC.VALUE | 0x440


def policy_signed(tester: Tester, key: int, signature: bytes) -> int:
    session = tester.start_session(SE.POLICY)
    params = words(0, 0, 0) + bytes(4) + signature
    rc = tester.run(CC.POLICY_SIGNED, [key, session.handle], params).rc
    areas.flush(tester, session.handle)
    return rc


def test_policy_signed(pqc: Tester) -> None:
    """23.3: toBeSigned is four octets of zero, without context."""
    _, private = ORACLE.key_derive(SIGNING_SEED)
    key = areas.loaded_external(pqc, mldsa_areas()[0])
    pure = words(ALG.MLDSA) + sized(ORACLE.sign(private, bytes(4)))
    assert policy_signed(pqc, key, pure) == 0
    with_context = words(ALG.MLDSA) + sized(ORACLE.sign(private, bytes(4), b"c"))
    assert policy_signed(pqc, key, with_context) == RC.SIGNATURE | 0x540
    hashing = areas.loaded_external(pqc, *hash_mldsa_areas())
    hashed = sign_digest(pqc, hashing, digest(ALG.SHA256, bytes(4))).parameters
    assert policy_signed(pqc, hashing, hashed) == 0
    assert policy_signed(pqc, hashing, pure) == RC.SCHEME | 0x540
    assert policy_signed(pqc, key, hashed) == RC.SCHEME | 0x540
    ecdsa = areas.loaded_external(pqc, *ecc_areas(SIGN, ECDSA))
    assert policy_signed(pqc, ecdsa, pure) == RC.SCHEME | 0x540
