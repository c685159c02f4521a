"""Part 3, chapter 14: Asymmetric Primitives."""

from hmac import compare_digest
from typing import Annotated

from ..command import Auth, command
from ..core import commitments, keys
from ..core.objects import has
from ..crypto import ecc, hashes, kdf, montgomery, rsa_schemes
from ..rc import RC, TpmError, located
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPM2B_ECC_POINT,
    TPM2B_PUBLIC_KEY_RSA,
    TPMS_ALGORITHM_DETAIL_ECC,
    TPMS_SCHEME_HASH,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_KDF_SCHEME_NULL,
    TPMT_RSA_DECRYPT,
    TPMT_RSA_DECRYPT_NULL,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_DATA, TPM2B_DIGEST, TPM2B_MAX_BUFFER
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_DH_OBJECT, TPMI_ECC_CURVE, TPMI_ECC_KEY_EXCHANGE, UINT16
from ..wire.objects import TPMS_ECC_PARMS, TPMS_RSA_PARMS
from ..wire.structure import Structure

PublicKey = Annotated[LoadedObject, TPMI_DH_OBJECT]
PrivateKey = Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER]


class RsaEncryptResponse(Structure):
    out_data: TPM2B_PUBLIC_KEY_RSA


@command(CC.RSA_ENCRYPT)
def rsa_encrypt(
    tpm: Tpm,
    key_handle: PublicKey,
    /,
    message: TPM2B_PUBLIC_KEY_RSA,
    in_scheme: TPMT_RSA_DECRYPT_NULL,
    label: TPM2B_DATA,
) -> RsaEncryptResponse:
    """Encrypt with an RSA key (14.2)."""
    if key_handle.public.type != ALG.RSA:
        raise TpmError(RC.KEY, at="key_handle")
    if not has(key_handle.public, TPMA_OBJECT.DECRYPT):
        raise TpmError(RC.ATTRIBUTES, at="key_handle")
    _check_label(label)
    scheme = _rsa_scheme(key_handle, in_scheme)
    key = keys.rsa_public(key_handle.public)
    match scheme.scheme:
        case ALG.OAEP:
            hash_alg = _hash_of(scheme)
            out_data = rsa_schemes.encrypt_oaep(key, hash_alg, label, message, tpm.random)
        case ALG.RSAES:
            out_data = rsa_schemes.encrypt_rsaes(key, message, tpm.random)
        case _:
            out_data = rsa_schemes.encrypt_raw(key, message)
    return RsaEncryptResponse(out_data)


class RsaDecryptResponse(Structure):
    message: TPM2B_PUBLIC_KEY_RSA


@command(CC.RSA_DECRYPT)
def rsa_decrypt(
    tpm: Tpm,
    key_handle: PrivateKey,
    /,
    cipher_text: TPM2B_PUBLIC_KEY_RSA,
    in_scheme: TPMT_RSA_DECRYPT_NULL,
    label: TPM2B_DATA,
) -> RsaDecryptResponse:
    """Decrypt with an RSA key that is not restricted (14.3)."""
    if key_handle.public.type != ALG.RSA:
        raise TpmError(RC.KEY, at="key_handle")
    _require_decryption(key_handle, at="key_handle")
    _check_label(label)
    scheme = _rsa_scheme(key_handle, in_scheme)
    key = keys.rsa_private(key_handle)
    match scheme.scheme:
        case ALG.OAEP:
            hash_alg = _hash_of(scheme)
            message = rsa_schemes.decrypt_oaep(key, hash_alg, label, cipher_text, tpm.random)
        case ALG.RSAES:
            message = rsa_schemes.decrypt_rsaes(key, cipher_text, tpm.random)
        case _:
            message = rsa_schemes.decrypt_raw(key, cipher_text, tpm.random)
    return RsaDecryptResponse(message)


def _require_decryption(key: LoadedObject, at: str) -> None:
    restricted = has(key.public, TPMA_OBJECT.RESTRICTED)
    if restricted or not has(key.public, TPMA_OBJECT.DECRYPT):
        raise TpmError(RC.ATTRIBUTES, at=at)


def _check_label(label: bytes) -> None:
    if label and label[-1]:
        raise TpmError(RC.VALUE, at="label")


def _rsa_scheme(key: LoadedObject, in_scheme: TPMT_RSA_DECRYPT) -> TPMT_RSA_DECRYPT:
    assert isinstance(key.public.parameters, TPMS_RSA_PARMS)
    own = key.public.parameters.scheme
    if own.scheme == ALG.NULL:
        return in_scheme
    if in_scheme.scheme == ALG.NULL:
        return TPMT_RSA_DECRYPT(own.scheme, own.details)
    if own.scheme != in_scheme.scheme or own.details != in_scheme.details:
        raise TpmError(RC.SCHEME, at="in_scheme")
    return in_scheme


def _hash_of(scheme: TPMT_RSA_DECRYPT | TPMT_KDF_SCHEME) -> int:
    assert isinstance(scheme.details, TPMS_SCHEME_HASH)
    return scheme.details.hash_alg


class EcdhKeyGenResponse(Structure):
    z_point: TPM2B_ECC_POINT
    pub_point: TPM2B_ECC_POINT


@command(CC.ECDH_KEY_GEN)
def ecdh_key_gen(tpm: Tpm, key_handle: PublicKey, /) -> EcdhKeyGenResponse:
    """Make an ephemeral key and the secret it shares with the holder of another (14.4)."""
    if key_handle.public.type != ALG.ECC:
        raise TpmError(RC.KEY, at="key_handle")
    if keys.is_in_octets(key_handle.public):
        if has(key_handle.public, TPMA_OBJECT.SIGN_ENCRYPT):  # a point in another form
            raise TpmError(RC.KEY, at="key_handle")
        form = keys.montgomery_curve(key_handle.public)
        private = montgomery.private_key(form, tpm.random)
        recipient = keys.public_octets(key_handle.public)
        return EcdhKeyGenResponse(
            keys.octets_point(montgomery.exchange(form, private, recipient)),
            keys.octets_point(montgomery.public_key(form, private)),
        )
    curve, peer = keys.ecc_curve(key_handle.public), keys.ecc_public(key_handle.public)
    if not curve.contains(peer):
        raise TpmError(RC.KEY, at="key_handle")
    d = ecc.private_key(curve, tpm.random)
    return EcdhKeyGenResponse(
        keys.coordinates(curve, ecc.multiply(curve, d, peer)),
        keys.coordinates(curve, ecc.public_point(curve, d)),
    )


class EcdhZGenResponse(Structure):
    out_point: TPM2B_ECC_POINT


@command(CC.ECDH_ZGEN)
def ecdh_zgen(tpm: Tpm, key_handle: PrivateKey, /, in_point: TPM2B_ECC_POINT) -> EcdhZGenResponse:
    """Multiply a point by a private key that is not restricted (14.5)."""
    scheme = _exchange_key_scheme(key_handle, at="key_handle")
    if scheme not in (ALG.ECDH, ALG.NULL):
        raise TpmError(RC.SCHEME, at="key_handle")
    if keys.is_in_octets(key_handle.public):
        form, private = keys.montgomery_curve(key_handle.public), keys.private_octets(key_handle)
        with located("in_point"):
            shared = montgomery.exchange(form, private, keys.octets_of(in_point))
        return EcdhZGenResponse(keys.octets_point(shared))
    curve = keys.ecc_curve(key_handle.public)
    point = keys.point_on(curve, in_point, at="in_point")
    product = ecc.multiply(curve, keys.ecc_private(key_handle), point)
    return EcdhZGenResponse(keys.coordinates(curve, product))


def _exchange_key_scheme(key: LoadedObject, at: str) -> int:
    if key.public.type != ALG.ECC:
        raise TpmError(RC.KEY, at=at)
    assert isinstance(key.public.parameters, TPMS_ECC_PARMS)
    _require_decryption(key, at)
    return key.public.parameters.scheme.scheme


class EccParametersResponse(Structure):
    parameters: TPMS_ALGORITHM_DETAIL_ECC


@command(CC.ECC_PARAMETERS, keeps_orderly=True)
def ecc_parameters(tpm: Tpm, /, curve_id: TPMI_ECC_CURVE) -> EccParametersResponse:
    """Return the parameters of a curve (14.6): those of X25519 and X448 of the Montgomery form."""
    if curve_id in montgomery.CURVES:
        return EccParametersResponse(_montgomery_detail(montgomery.CURVES[curve_id]))
    curve = ecc.CURVES[curve_id]
    detail = TPMS_ALGORITHM_DETAIL_ECC(
        curve_id=curve_id,
        key_size=curve.key_bits,
        kdf=TPMT_KDF_SCHEME(ALG.KDF1_SP800_56A, TPMS_SCHEME_HASH(curve.hash_alg)),
        sign=TPMT_ECC_SCHEME(ALG.NULL, None),
        p=curve.octets(curve.p),
        a=curve.octets(curve.a),
        b=curve.octets(curve.b),
        g_x=curve.octets(curve.g.x),
        g_y=curve.octets(curve.g.y),
        n=curve.octets(curve.n),
        h=bytes((curve.h,)),
    )
    return EccParametersResponse(detail)


def _montgomery_detail(curve: montgomery.MontgomeryCurve) -> TPMS_ALGORITHM_DETAIL_ECC:
    return TPMS_ALGORITHM_DETAIL_ECC(
        curve_id=curve.curve_id,
        key_size=curve.key_bits,
        kdf=TPMT_KDF_SCHEME(ALG.KDF1_SP800_56A, TPMS_SCHEME_HASH(curve.hash_alg)),
        sign=TPMT_ECC_SCHEME(ALG.NULL, None),
        p=curve.octets(curve.p),
        a=curve.octets(curve.a),
        b=curve.octets(1),
        g_x=curve.octets(curve.u),
        g_y=curve.octets(curve.v),
        n=curve.octets(curve.n),
        h=bytes((curve.h,)),
    )


class ZGen2PhaseResponse(Structure):
    out_z1: TPM2B_ECC_POINT
    out_z2: TPM2B_ECC_POINT


@command(CC.ZGEN_2PHASE)
def zgen_2phase(
    tpm: Tpm,
    key_a: PrivateKey,
    /,
    in_qs_b: TPM2B_ECC_POINT,
    in_qe_b: TPM2B_ECC_POINT,
    in_scheme: TPMI_ECC_KEY_EXCHANGE,
    counter: UINT16,
) -> ZGen2PhaseResponse:
    """Exchange keys with a static key and the one of TPM2_EC_Ephemeral (14.7)."""
    if _exchange_key_scheme(key_a, at="key_a") not in (ALG.NULL, in_scheme):
        raise TpmError(RC.SCHEME, at="in_scheme")
    _require_coordinates(key_a, at="key_a")
    curve = keys.ecc_curve(key_a.public)
    static = keys.point_on(curve, in_qs_b, at="in_qs_b")
    ephemeral = keys.point_on(curve, in_qe_b, at="in_qe_b")
    if in_scheme != ALG.ECDH:
        raise TpmError(RC.SCHEME, at="in_scheme")
    r = commitments.committed(tpm, curve, b"", counter, at="counter")
    z1, z2 = ecc.full_unified_model(curve, keys.ecc_private(key_a), r, static, ephemeral)
    commitments.end(tpm, counter)
    return ZGen2PhaseResponse(keys.coordinates(curve, z1), keys.coordinates(curve, z2))


class EccEncryptResponse(Structure):
    c1: TPM2B_ECC_POINT
    c2: TPM2B_MAX_BUFFER
    c3: TPM2B_DIGEST


@command(CC.ECC_ENCRYPT)
def ecc_encrypt(
    tpm: Tpm,
    key_handle: PublicKey,
    /,
    plain_text: TPM2B_MAX_BUFFER,
    in_scheme: TPMT_KDF_SCHEME_NULL,
) -> EccEncryptResponse:
    """Encrypt to the holder of an ECC key (14.8)."""
    if key_handle.public.type != ALG.ECC:
        raise TpmError(RC.KEY, at="key_handle")
    _require_coordinates(key_handle, at="key_handle")
    hash_alg = _kdf2_hash(key_handle, in_scheme)
    curve, peer = keys.ecc_curve(key_handle.public), keys.ecc_public(key_handle.public)
    if not curve.contains(peer):
        raise TpmError(RC.NO_RESULT)
    d = ecc.private_key(curve, tpm.random)
    x, y = shared = _shared(curve, d, peer)
    return EccEncryptResponse(
        keys.coordinates(curve, ecc.public_point(curve, d)),
        _masked(hash_alg, shared, plain_text),
        hashes.digest(hash_alg, x, plain_text, y),
    )


class EccDecryptResponse(Structure):
    plain_text: TPM2B_MAX_BUFFER


@command(CC.ECC_DECRYPT)
def ecc_decrypt(
    tpm: Tpm,
    key_handle: PrivateKey,
    /,
    c1: TPM2B_ECC_POINT,
    c2: TPM2B_MAX_BUFFER,
    c3: TPM2B_DIGEST,
    in_scheme: TPMT_KDF_SCHEME_NULL,
) -> EccDecryptResponse:
    """Decrypt what `ecc_encrypt` made, if nobody has changed it (14.9)."""
    if key_handle.public.type != ALG.ECC:
        raise TpmError(RC.KEY, at="key_handle")
    _require_decryption(key_handle, at="key_handle")
    _require_coordinates(key_handle, at="key_handle")
    hash_alg = _kdf2_hash(key_handle, in_scheme)
    curve = keys.ecc_curve(key_handle.public)
    ephemeral = keys.point_on(curve, c1, at="c1")
    x, y = shared = _shared(curve, keys.ecc_private(key_handle), ephemeral)
    plain_text = _masked(hash_alg, shared, c2)
    if not compare_digest(hashes.digest(hash_alg, x, plain_text, y), c3):
        raise TpmError(RC.VALUE)
    return EccDecryptResponse(plain_text)


def _require_coordinates(key: LoadedObject, at: str) -> None:
    """Raise RC.KEY for an ECC key whose curve does not give both coordinates, which are needed."""
    if keys.is_in_octets(key.public):
        raise TpmError(RC.KEY, at=at)


def _kdf2_hash(key: LoadedObject, in_scheme: TPMT_KDF_SCHEME) -> int:
    assert isinstance(key.public.parameters, TPMS_ECC_PARMS)
    own = key.public.parameters.kdf
    scheme = own if in_scheme.scheme == ALG.NULL else in_scheme
    if scheme.scheme == ALG.NULL or (own.scheme != ALG.NULL and own != scheme):
        raise TpmError(RC.SCHEME, at="in_scheme")
    if scheme.scheme != ALG.KDF2:
        raise TpmError(RC.SCHEME)
    return _hash_of(scheme)


def _shared(curve: ecc.Curve, d: int, peer: ecc.Point) -> tuple[bytes, bytes]:
    product = ecc.multiply(curve, d, peer)
    return curve.octets(product.x), curve.octets(product.y)


def _masked(hash_alg: int, shared: tuple[bytes, bytes], data: bytes) -> bytes:
    return kdf.xor(data, kdf.kdf2(hash_alg, b"".join(shared), len(data)))
