"""The uses of a hash algorithm that a guest can ask for, each with its oracle."""

import hmac
import struct
from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import padding

from tests.tpm import areas
from tests.tpm.areas import DECRYPT, NO_DA, NONE, OWN, SIGN, STORAGE, USER_AUTH, words
from tests.tpm.commands import nv_area
from tests.tpm.commands.test_certify_x509 import certificate_of
from tests.tpm.crypto import library
from tests.tpm.harness import (
    CONTINUE,
    HASH_NAMES,
    EnginePeer,
    Password,
    Result,
    Tester,
    digest,
    sized,
)
from tests.tpm.harness import (
    DECRYPT as DECRYPTING,
)
from tests.tpm.harness import (
    ENCRYPT as ENCRYPTING,
)
from tests.tpm.known_keys import HMAC_KEY, ecc_areas, rsa_areas, rsa_key
from vtpmd.tpm.crypto.ecc import CURVES
from vtpmd.tpm.profile import Profile
from vtpmd.tpm.wire.constants import ALG, CC, NT, RH, SE, ST

MESSAGE = b"message"
NULL_TICKET = words(ST.HASHCHECK) + RH.NULL.to_bytes(4) + words(0)
ONE = RH.OWNER.to_bytes(4)
Walk = Callable[[Tester, int], None]


def profile_of(tester: Tester) -> Profile:
    assert isinstance(tester.peer, EnginePeer)
    return tester.peer.engine.profile


def done(
    tester: Tester, code: int, handles: list[int], params: bytes = b"", auths: int = 0
) -> Result:
    """A command that succeeds, with empty passwords."""
    result = tester.run(code, handles, params, [Password()] * auths)
    assert result.rc == 0, f"{CC(code).name}: {result.rc:#x}"
    return result


def loaded(tester: Tester, public_and_sensitive: tuple[bytes, bytes]) -> int:
    return areas.loaded_external(tester, *public_and_sensitive)


def signature_of(tester: Tester, key: int, scheme: bytes) -> Result:
    """TPM2_Sign of a digest of `MESSAGE` by the scheme's hash, and its verification by the TPM."""
    hashed = digest(int.from_bytes(scheme[2:4]), MESSAGE)
    signed = done(tester, CC.SIGN, [key], sized(hashed) + scheme + NULL_TICKET, 1)
    done(tester, CC.VERIFY_SIGNATURE, [key], sized(hashed) + signed.parameters)
    return signed


def hashing(tester: Tester, alg: int) -> None:
    answer = done(tester, CC.HASH, [], sized(MESSAGE) + words(alg) + ONE)
    assert answer.sized() == digest(alg, MESSAGE)


def hmac_key(alg: int) -> tuple[bytes, bytes]:
    seed = bytes(len(digest(alg)))
    public = areas.keyedhash(
        USER_AUTH | NO_DA | SIGN,
        alg=alg,
        scheme=words(ALG.HMAC, alg),
        unique=digest(alg, seed, HMAC_KEY),
    )
    return public, areas.sensitive(ALG.KEYEDHASH, HMAC_KEY, seed=seed)


def macs(tester: Tester, alg: int) -> None:
    key = loaded(tester, hmac_key(alg))
    expected = hmac.digest(HMAC_KEY, MESSAGE, HASH_NAMES[ALG(alg)])
    assert done(tester, CC.HMAC, [key], sized(MESSAGE) + NONE, 1).sized() == expected
    sequence = started(tester, CC.HMAC_START, [key], words(alg))
    assert in_pieces(tester, sequence, (MESSAGE[:3], MESSAGE[3:])) == expected
    hashed = digest(alg, MESSAGE)
    scheme = words(ALG.HMAC, alg)
    signed = done(tester, CC.SIGN, [key], sized(hashed) + scheme + NULL_TICKET, 1)
    assert signed.parameters == scheme + hmac.digest(HMAC_KEY, hashed, HASH_NAMES[ALG(alg)])
    done(tester, CC.VERIFY_SIGNATURE, [key], sized(hashed) + signed.parameters)


def started(tester: Tester, code: int, handles: list[int], alg: bytes) -> int:
    """The handle of a sequence."""
    handle = done(tester, code, handles, sized(b"") + alg, len(handles)).handle
    assert handle is not None
    tester.names[handle] = b""
    return handle


def in_pieces(tester: Tester, sequence: int, pieces: tuple[bytes, bytes]) -> bytes:
    """The result of a sequence whose context is saved and loaded between two pieces."""
    done(tester, CC.SEQUENCE_UPDATE, [sequence], sized(pieces[0]), 1)
    saved = done(tester, CC.CONTEXT_SAVE, [sequence]).parameters
    areas.flush(tester, sequence)
    restored = done(tester, CC.CONTEXT_LOAD, [], saved).handle
    assert restored is not None
    tester.names[restored] = b""
    params = sized(pieces[1]) + RH.NULL.to_bytes(4)
    return done(tester, CC.SEQUENCE_COMPLETE, [restored], params, 1).sized()


def sequences(tester: Tester, alg: int) -> None:
    for size in (0, 1, 700):
        sequence = started(tester, CC.HASH_SEQUENCE_START, [], words(alg))
        result = in_pieces(tester, sequence, (bytes(size), MESSAGE))
        assert result == digest(alg, bytes(size), MESSAGE)


def sessions(tester: Tester, alg: int) -> None:
    """Bound, with encrypted parameters of both directions, audited."""
    done(tester, CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"owner"), 1)
    for aes_bits in (0, 128):
        session = tester.start_session(
            alg=alg, bind=RH.OWNER, bind_auth=b"owner", aes_bits=aes_bits
        )
        attributes = CONTINUE | (DECRYPTING if aes_bits else 0)
        used = replace(session, attributes=attributes, auth_value=b"owner", proves_auth_value=False)
        changed = tester.run(CC.HIERARCHY_CHANGE_AUTH, [RH.OWNER], sized(b"owner"), [used])
        assert changed.rc == 0
        areas.flush(tester, session.handle)
    session = replace(tester.start_session(alg=alg, aes_bits=128), attributes=CONTINUE | ENCRYPTING)
    answer = tester.run(CC.GET_RANDOM, params=words(16), auths=[session])
    assert (answer.rc, len(answer.sized())) == (0, 16)


def policies(tester: Tester, alg: int) -> None:
    session = tester.start_session(SE.TRIAL, alg=alg).handle
    done(tester, CC.POLICY_COMMAND_CODE, [session], CC.UNSEAL.to_bytes(4))
    expected = digest(
        alg, bytes(len(digest(alg))), CC.POLICY_COMMAND_CODE.to_bytes(4), CC.UNSEAL.to_bytes(4)
    )
    assert done(tester, CC.POLICY_GET_DIGEST, [session]).sized() == expected
    done(tester, CC.SET_PRIMARY_POLICY, [RH.OWNER], sized(expected) + words(alg), 1)


def names(tester: Tester, alg: int) -> None:
    """Of objects; with what protects a child and a credential, which takes the same hash."""
    public, _ = rsa_areas(SIGN)
    public = public[:2] + words(alg) + public[4:]
    key = areas.loaded_external(tester, public)
    assert done(tester, CC.READ_PUBLIC, [key]).sized(1) == areas.name_of(public)
    areas.flush(tester, key)
    parent = areas.loaded_primary(tester, areas.storage(alg=alg))
    child = areas.loaded_child(
        tester, parent, areas.keyedhash(USER_AUTH | NO_DA, alg=alg), data=MESSAGE
    )
    assert done(tester, CC.UNSEAL, [child], b"", 1).sized() == MESSAGE
    name = tester.name(child)
    made = done(tester, CC.MAKE_CREDENTIAL, [parent], sized(MESSAGE) + sized(name))
    opened = done(tester, CC.ACTIVATE_CREDENTIAL, [child, parent], made.parameters, 2)
    assert opened.sized() == MESSAGE


def indices(tester: Tester, alg: int) -> None:
    extended = nv_area.OWNER_RW | nv_area.of_type(NT.EXTEND)
    area = nv_area.Area(extended, len(digest(alg)), alg=alg)
    assert nv_area.define(tester, area).rc == 0
    done(tester, CC.NV_EXTEND, [RH.OWNER, area.index], sized(MESSAGE), 1)
    params = words(area.size, 0)
    read = done(tester, CC.NV_READ, [RH.OWNER, area.index], params, 1).sized()
    assert read == digest(alg, bytes(area.size), MESSAGE)


def derivation(tester: Tester, alg: int) -> None:
    scheme = words(ALG.XOR, alg, ALG.KDF1_SP800_108)
    parent = areas.loaded_primary(tester, areas.keyedhash(OWN | STORAGE | NO_DA, scheme=scheme))
    template = areas.keyedhash(areas.FIXED | USER_AUTH, alg=alg)[:-2] + sized(b"l") + sized(b"c")
    done(tester, CC.CREATE_LOADED, [parent], areas.sensitive_create() + sized(template), 1)


def rsa_signatures(tester: Tester, alg: int) -> None:
    key = loaded(tester, rsa_areas(SIGN))
    public, hash_ = rsa_key(2048).public_key(), library.HASHES[alg]
    paddings: dict[int, padding.AsymmetricPadding] = {
        ALG.RSASSA: padding.PKCS1v15(),
        ALG.RSAPSS: padding.PSS(padding.MGF1(hash_), hash_.digest_size),
    }
    for scheme, padded in paddings.items():
        signed = signature_of(tester, key, words(scheme, alg))
        public.verify(signed.parameters[6:], MESSAGE, padded, hash_)


def ecc_signatures(tester: Tester, alg: int) -> None:
    schemes = {ALG.ECDSA, ALG.ECSCHNORR} & profile_of(tester).algorithms
    for curve in profile_of(tester).ecc_curves & set(CURVES):
        key = loaded(tester, ecc_areas(SIGN, curve=curve))
        for scheme in schemes:
            signature_of(tester, key, words(scheme, alg))
        areas.flush(tester, key)


def anonymous_signatures(tester: Tester, alg: int) -> None:
    if ALG.ECDAA not in profile_of(tester).algorithms:
        return
    key = loaded(tester, ecc_areas(SIGN, words(ALG.ECDAA, alg, 0)))
    counter = done(tester, CC.COMMIT, [key], sized(words(0, 0)) + words(0, 0), 1).parameters[-2:]
    scheme = words(ALG.ECDAA, alg) + counter
    done(tester, CC.SIGN, [key], sized(digest(alg, MESSAGE)) + scheme + NULL_TICKET, 1)


def rsa_encryption(tester: Tester, alg: int) -> None:
    key = loaded(tester, rsa_areas(DECRYPT))
    scheme = words(ALG.OAEP, alg)
    made = done(tester, CC.RSA_ENCRYPT, [key], sized(MESSAGE) + scheme + sized(b"label\0"))
    params = made.parameters + scheme + sized(b"label\0")
    assert done(tester, CC.RSA_DECRYPT, [key], params, 1).sized() == MESSAGE


def ecc_encryption(tester: Tester, alg: int) -> None:
    if ALG.KDF2 not in profile_of(tester).algorithms:
        return
    key = loaded(tester, ecc_areas(DECRYPT))
    scheme = words(ALG.KDF2, alg)
    made = done(tester, CC.ECC_ENCRYPT, [key], sized(MESSAGE) + scheme)
    params = made.parameters + scheme
    assert done(tester, CC.ECC_DECRYPT, [key], params, 1).sized() == MESSAGE


def attestation(tester: Tester, alg: int) -> None:
    key = loaded(tester, rsa_areas(SIGN))
    params = sized(b"nonce") + words(ALG.RSASSA, alg) + struct.pack(">IHB3s", 1, alg, 3, b"\1\0\0")
    quoted = done(tester, CC.QUOTE, [key], params, 1)
    signature = quoted.parameters[2 + len(quoted.sized()) + 6 :]
    public = rsa_key(2048).public_key()
    public.verify(signature, quoted.sized(), padding.PKCS1v15(), library.HASHES[alg])


def certificates(tester: Tester, alg: int) -> None:
    rsa, ecc = loaded(tester, rsa_areas(SIGN)), loaded(tester, ecc_areas(SIGN))
    for signer, subject, scheme in (
        (rsa, ecc, ALG.RSASSA),
        (rsa, ecc, ALG.RSAPSS),
        (ecc, rsa, ALG.ECDSA),
    ):
        made = certificate_of(tester, signer, subject, words(scheme, alg))
        used = made.signature_hash_algorithm
        assert used is not None
        assert used.name == library.HASHES[alg].name


def audits(tester: Tester, alg: int) -> None:
    changing, owner = CC.SET_COMMAND_CODE_AUDIT_STATUS, RH.OWNER.to_bytes(4)
    recorded = bytes(len(digest(alg)))

    def audited(code: int, handle: bytes, params: bytes, response: bytes) -> bytes:
        named = code.to_bytes(4)
        return digest(
            alg,
            recorded,
            digest(alg, named, handle, params),
            digest(alg, bytes(4), named, response),
        )

    choice = words(alg) + bytes(8)
    done(tester, changing, [RH.OWNER], choice, 1)
    if alg == ALG.SHA512:  # what it was: this has not changed it
        recorded = audited(changing, owner, choice, b"")
    choice = NONE + struct.pack(">III", 1, CC.GET_RANDOM, 0)
    done(tester, changing, [RH.OWNER], choice, 1)
    recorded = audited(changing, owner, choice, b"")
    response = done(tester, CC.GET_RANDOM, [], words(1)).parameters
    recorded = audited(CC.GET_RANDOM, b"", words(1), response)
    params = sized(b"") + NONE
    attested = done(tester, CC.GET_COMMAND_AUDIT_DIGEST, [RH.ENDORSEMENT, RH.NULL], params, 2)
    assert words(alg) + sized(recorded) in attested.sized()


def pcrs(tester: Tester, alg: int) -> None:
    if alg not in profile_of(tester).pcr_banks:
        return
    size = len(digest(alg))
    done(tester, CC.PCR_EXTEND, [16], struct.pack(">IH", 1, alg) + digest(alg, MESSAGE), 1)
    selected = struct.pack(">IHB3s", 1, alg, 3, b"\0\0\1")
    read = done(tester, CC.PCR_READ, [], selected).parameters
    assert read[-size:] == digest(alg, bytes(size), digest(alg, MESSAGE))
    done(tester, CC.PCR_RESET, [16], b"", 1)
    sequence = started(tester, CC.HASH_SEQUENCE_START, [], NONE)
    done(tester, CC.EVENT_SEQUENCE_COMPLETE, [16, sequence], sized(MESSAGE), 2)
    assert done(tester, CC.PCR_READ, [], selected).parameters[-size:] == read[-size:]
    tester.peer.hash_event(MESSAGE)


HASH_WALKS: dict[str, Walk] = {
    walk.__name__: walk
    for walk in (
        *(hashing, macs, sequences, sessions, policies, names, indices, rsa_signatures),
        *(ecc_signatures, anonymous_signatures, rsa_encryption, ecc_encryption, attestation),
        *(certificates, audits, pcrs),
    )
}
