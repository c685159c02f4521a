"""Part 3, chapter 15: Symmetric Primitives."""

from typing import Annotated

from ..command import Auth, command
from ..core import macs, tickets
from ..core.objects import has
from ..crypto import hashes, symmetric
from ..rc import RC, TpmError
from ..state import LoadedObject, Tpm
from ..wire.algorithms import TPMS_SYMCIPHER_PARMS
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_DIGEST, TPM2B_IV, TPM2B_MAX_BUFFER, TPMT_TK_HASHCHECK
from ..wire.constants import ALG, CC
from ..wire.interface import (
    TPMI_ALG_CIPHER_MODE_NULL,
    TPMI_ALG_HASH,
    TPMI_ALG_MAC_SCHEME_NULL,
    TPMI_DH_OBJECT,
    TPMI_RH_HIERARCHY,
    TPMI_YES_NO,
)
from ..wire.structure import Structure

CipherKey = Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER]


class EncryptDecryptResponse(Structure):
    out_data: TPM2B_MAX_BUFFER
    iv_out: TPM2B_IV


@command(CC.ENCRYPT_DECRYPT)
def encrypt_decrypt(
    tpm: Tpm,
    key_handle: CipherKey,
    /,
    decrypt: TPMI_YES_NO,
    mode: TPMI_ALG_CIPHER_MODE_NULL,
    iv_in: TPM2B_IV,
    in_data: TPM2B_MAX_BUFFER,
) -> EncryptDecryptResponse:
    """Encrypt or decrypt with a block cipher (15.2)."""
    return _encrypt_decrypt(tpm, key_handle, bool(decrypt), mode, iv_in, in_data)


@command(CC.ENCRYPT_DECRYPT2)
def encrypt_decrypt2(
    tpm: Tpm,
    key_handle: CipherKey,
    /,
    in_data: TPM2B_MAX_BUFFER,
    decrypt: TPMI_YES_NO,
    mode: TPMI_ALG_CIPHER_MODE_NULL,
    iv_in: TPM2B_IV,
) -> EncryptDecryptResponse:
    """As `encrypt_decrypt`, with data that a session can encrypt (15.3)."""
    return _encrypt_decrypt(tpm, key_handle, bool(decrypt), mode, iv_in, in_data)


def _encrypt_decrypt(
    tpm: Tpm, key: LoadedObject, decrypt: bool, mode: int, iv_in: bytes, in_data: bytes
) -> EncryptDecryptResponse:
    parameters = key.public.parameters
    if key.public.type != ALG.SYMCIPHER:
        raise TpmError(RC.KEY, at="key_handle")
    assert isinstance(parameters, TPMS_SYMCIPHER_PARMS)
    needed = TPMA_OBJECT.DECRYPT if decrypt else TPMA_OBJECT.SIGN_ENCRYPT
    if has(key.public, TPMA_OBJECT.RESTRICTED) or not has(key.public, needed):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    own = parameters.sym.mode
    if own not in tpm.profile.cipher_modes and own != ALG.NULL:
        raise TpmError(RC.MODE, at="key_handle")
    chosen = own if mode == ALG.NULL else mode
    if chosen == ALG.NULL or own not in (ALG.NULL, chosen):
        raise TpmError(RC.MODE, at="mode")
    assert chosen is not None
    alg = parameters.sym.algorithm
    block = symmetric.block_size(alg)
    if len(iv_in) != (0 if chosen == ALG.ECB else block):
        raise TpmError(RC.SIZE, at="iv_in")
    if chosen in symmetric.WHOLE_BLOCKS and len(in_data) % block:
        raise TpmError(RC.SIZE, at="in_data")
    assert key.sensitive is not None
    transform = symmetric.decrypt if decrypt else symmetric.encrypt
    out_data, iv_out = transform(alg, key.sensitive.sensitive, chosen, iv_in, in_data)
    return EncryptDecryptResponse(out_data, iv_out)


class HashResponse(Structure):
    out_hash: TPM2B_DIGEST
    validation: TPMT_TK_HASHCHECK


@command(CC.HASH)
def hash(
    tpm: Tpm,
    /,
    data: TPM2B_MAX_BUFFER,
    hash_alg: TPMI_ALG_HASH,
    hierarchy: TPMI_RH_HIERARCHY,
) -> HashResponse:
    """Hash data and return a ticket if the digest is safe to sign (15.4)."""
    out_hash = hashes.digest(hash_alg, data)
    safe = tickets.is_safe(data)
    return HashResponse(out_hash, tickets.hash_check(tpm, hierarchy, hash_alg, out_hash, safe=safe))


class MacResponse(Structure):
    out_mac: TPM2B_DIGEST


@command(CC.HMAC)
def mac(
    tpm: Tpm,
    handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    buffer: TPM2B_MAX_BUFFER,
    in_scheme: TPMI_ALG_MAC_SCHEME_NULL,
) -> MacResponse:
    """Compute an HMAC or CMAC (15.5 and 15.6, which share one code)."""
    running = macs.start(handle, macs.select(tpm.profile, handle, in_scheme))
    running.update(buffer)
    return MacResponse(running.digest())
