"""Sensitive areas outside the TPM: encrypted and integrity protected (Part 1, clauses 19 to 21).

A *protector* is the storage key whose block cipher and nameAlg are used. Keys come from a seed: its
own seedValue for its children, or one shared with its holder for duplicates and credentials.
"""

from hmac import compare_digest

from ..crypto import symmetric
from ..crypto.hashes import HmacKey, digest, digest_size
from ..crypto.wrapping import integrity_key, storage_key
from ..profile import Profile
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMT_SYM_DEF_OBJECT
from ..wire.base import TPM2B_DIGEST, TPM2B_IV
from ..wire.interface import UINT16
from ..wire.objects import TPMS_PROTECTED, TPMT_SENSITIVE
from ..wire.structure import parse, reader
from . import keys

_read_size = reader(UINT16)
_read_digest = reader(TPM2B_DIGEST)
_read_iv = reader(TPM2B_IV)


def wrap_outer(protector: LoadedObject, name: bytes, seed: bytes, plain: bytes) -> bytes:
    """Encrypt and integrity protect data of the object with this Name (19.4 and 19.5)."""
    encrypted = _encrypt(protector, name, seed, b"", plain)
    return _with_integrity(protector, name, seed, encrypted)


def unwrap_outer(
    profile: Profile, protector: LoadedObject, name: bytes, seed: bytes, blob: bytes
) -> bytes:
    """The inverse of `wrap_outer`. RC.INTEGRITY, RC.SIZE, RC.INSUFFICIENT."""
    encrypted = _verified(profile, protector, name, seed, blob)
    return _decrypt(protector, name, seed, b"", encrypted)


def wrap_sensitive(
    tpm: Tpm, parent: LoadedObject, name: bytes, name_alg: int, sensitive: TPMT_SENSITIVE
) -> bytes:
    """TPM2B_PRIVATE of a child of `parent`, under a fresh IV (23.6 and 23.7)."""
    assert parent.sensitive is not None
    seed = parent.sensitive.seed_value
    iv = tpm.random(symmetric.block_size(_cipher(parent).algorithm))
    encrypted = _encrypt(parent, name, seed, iv, sized_sensitive(sensitive, name_alg))
    return _with_integrity(parent, name, seed, len(iv).to_bytes(2) + iv + encrypted)


def unwrap_sensitive(
    profile: Profile, parent: LoadedObject, name: bytes, private: bytes
) -> TPMT_SENSITIVE:
    """The sensitive area in a TPM2B_PRIVATE.

    Raises RC.INTEGRITY, RC.SIZE, RC.INSUFFICIENT, RC.VALUE for an IV of the wrong size, and
    RC.SENSITIVE if what was protected is not a sensitive area.
    """
    assert parent.sensitive is not None
    seed = parent.sensitive.seed_value
    protected = _verified(profile, parent, name, seed, private)
    iv, start = _read_iv(protected, 0, profile)
    if len(iv) != symmetric.block_size(_cipher(parent).algorithm):
        raise TpmError(RC.VALUE)
    plain = _decrypt(parent, name, seed, iv, protected[start:])
    try:
        return parse_sensitive(profile, plain)
    except TpmError as error:
        # libtpms distinguishes a missing size field from everything else.
        raise TpmError(error.code if len(plain) < 2 else RC.SENSITIVE) from None


def wrap_inner(
    name: bytes, name_alg: int, cipher: TPMT_SYM_DEF_OBJECT, key: bytes, plain: bytes
) -> bytes:
    """The inner wrapper of a duplicate, with a key that is passed on separately (20.3.2)."""
    integrity = digest(name_alg, plain, name)
    protected = len(integrity).to_bytes(2) + integrity + plain
    return symmetric.cfb_encrypt(cipher.algorithm, key, _no_iv(cipher), protected)


def unwrap_inner(
    profile: Profile,
    name: bytes,
    name_alg: int,
    cipher: TPMT_SYM_DEF_OBJECT,
    key: bytes,
    blob: bytes,
) -> bytes:
    """The inverse of `wrap_inner`. RC.INTEGRITY, RC.SIZE, RC.INSUFFICIENT."""
    protected = symmetric.cfb_decrypt(cipher.algorithm, key, _no_iv(cipher), blob)
    integrity, start = _read_digest(protected, 0, profile)
    if not compare_digest(integrity, digest(name_alg, protected[start:], name)):
        raise TpmError(RC.INTEGRITY)
    return protected[start:]


def sized_sensitive(sensitive: TPMT_SENSITIVE, name_alg: int) -> bytes:
    """TPM2B_SENSITIVE with the authValue padded to hide its length (24.7.3)."""
    padded = TPMT_SENSITIVE(
        sensitive.sensitive_type,
        sensitive.auth_value.ljust(digest_size(name_alg), b"\0"),
        sensitive.seed_value,
        sensitive.sensitive,
    ).marshal()
    return len(padded).to_bytes(2) + padded


def parse_sensitive(profile: Profile, plain: bytes) -> TPMT_SENSITIVE:
    """The inverse of `sized_sensitive`. RC.SIZE, RC.INSUFFICIENT, and errors of the fields."""
    size, start = _read_size(plain, 0, profile)
    if size != len(plain) - start:
        raise TpmError(RC.SIZE)
    sensitive = TPMT_SENSITIVE.parse(plain[start:], profile)
    sensitive.auth_value = sensitive.auth_value.rstrip(b"\0")
    return sensitive


def wrap_credential(protector: LoadedObject, name: bytes, seed: bytes, credential: bytes) -> bytes:
    """TPM2B_ID_OBJECT of a credential for the TPM that holds both keys (Part 1, clause 21)."""
    return wrap_outer(protector, name, seed, len(credential).to_bytes(2) + credential)


def unwrap_credential(
    profile: Profile, protector: LoadedObject, name: bytes, seed: bytes, blob: bytes
) -> bytes:
    """The inverse of `wrap_credential`; raises as `unwrap_outer`."""
    plain = unwrap_outer(profile, protector, name, seed, blob)
    credential: bytes = parse(TPM2B_DIGEST, plain, profile)
    return credential


def _cipher(protector: LoadedObject) -> TPMT_SYM_DEF_OBJECT:
    cipher = keys.symmetric(protector.public)
    assert cipher is not None
    return cipher


def _no_iv(cipher: TPMT_SYM_DEF_OBJECT) -> bytes:
    return bytes(symmetric.block_size(cipher.algorithm))


def _storage_key(
    protector: LoadedObject, cipher: TPMT_SYM_DEF_OBJECT, name: bytes, seed: bytes
) -> bytes:
    assert cipher.key_bits is not None
    return storage_key(protector.public.name_alg, seed, name, cipher.key_bits)


def _encrypt(protector: LoadedObject, name: bytes, seed: bytes, iv: bytes, plain: bytes) -> bytes:
    cipher = _cipher(protector)
    key = _storage_key(protector, cipher, name, seed)
    return symmetric.cfb_encrypt(cipher.algorithm, key, iv or _no_iv(cipher), plain)


def _decrypt(
    protector: LoadedObject, name: bytes, seed: bytes, iv: bytes, encrypted: bytes
) -> bytes:
    cipher = _cipher(protector)
    key = _storage_key(protector, cipher, name, seed)
    return symmetric.cfb_decrypt(cipher.algorithm, key, iv or _no_iv(cipher), encrypted)


def _integrity(protector: LoadedObject, name: bytes, seed: bytes, encrypted: bytes) -> bytes:
    return _integrity_key(protector, seed).hmac(encrypted, name)


def _integrity_key(protector: LoadedObject, seed: bytes) -> HmacKey:
    """The HMAC key for data under a seed (19.5); a parent keeps that of its own seedValue."""
    own = protector.sensitive is not None and seed is protector.sensitive.seed_value
    if own and protector.integrity_key is not None:
        return protector.integrity_key
    alg = protector.public.name_alg
    key = HmacKey(alg, integrity_key(alg, seed))
    if own:
        protector.integrity_key = key
    return key


def _with_integrity(protector: LoadedObject, name: bytes, seed: bytes, encrypted: bytes) -> bytes:
    return TPMS_PROTECTED(_integrity(protector, name, seed, encrypted), encrypted).marshal()


def _verified(
    profile: Profile, protector: LoadedObject, name: bytes, seed: bytes, blob: bytes
) -> bytes:
    integrity, start = _read_digest(blob, 0, profile)
    encrypted = blob[start:]
    if not compare_digest(integrity, _integrity(protector, name, seed, encrypted)):
        raise TpmError(RC.INTEGRITY)
    return encrypted
