"""Whether the public and the sensitive area of an object belong together (Part 1, 26.2).

Errors have the positions of the reference implementation, which names the area for some faults and
not for others.
"""

from hmac import compare_digest

from ..crypto import ecc, eddsa, mldsa, mlkem, montgomery
from ..crypto.hashes import block_size, digest, digest_size, hmac
from ..rc import RC, TpmError
from ..state import LoadedObject
from ..wire.algorithms import TPMS_ECC_POINT, TPMS_SYMCIPHER_PARMS
from ..wire.attributes import TPMA_OBJECT
from ..wire.constants import ALG
from ..wire.limits import MAX_SYM_DATA
from ..wire.objects import TPMS_KEYEDHASH_PARMS, TPMS_RSA_PARMS, TPMT_PUBLIC, TPMT_SENSITIVE
from .keys import (
    curve_id,
    ecc_curve,
    ecc_public,
    encoded,
    is_in_octets,
    mldsa_parms,
    mlkem_parms,
    montgomery_curve,
)
from .objects import STORAGE, has
from .templates import check_attributes, check_schemes

_SMALLEST_EXPONENT = 7


def check_loadable(
    parent: LoadedObject | None,
    public: TPMT_PUBLIC,
    sensitive: TPMT_SENSITIVE | None,
    *,
    trusted: bool,
    public_at: str,
    sensitive_at: str,
) -> None:
    """Check an object before it is loaded or imported.

    `trusted` says that the areas were checked when the parent, which is fixedTPM, wrapped them.
    Raises RC.KEY_SIZE for a seedValue that is too long, and as `templates` and `check_areas`.
    """
    if sensitive is None or public.name_alg == ALG.NULL:
        check_schemes(None, public, public_at)
    else:
        if len(sensitive.seed_value) > digest_size(public.name_alg):
            raise TpmError(RC.KEY_SIZE, at=sensitive_at)
        check_attributes(parent, public, public_at)
    if not trusted:
        check_areas(public, sensitive, public_at, sensitive_at)


def check_areas(
    public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str, sensitive_at: str
) -> None:
    """Check sizes and, for an object with a Name, that the areas belong together.

    The primes of an RSA key are tested only when it is used or its exponent is computed.
    Raises RC.TYPE, RC.SIZE, RC.KEY, RC.KEY_SIZE, RC.VALUE, RC.ECC_POINT and RC.BINDING.
    """
    size = digest_size(public.name_alg)
    if sensitive is not None:
        if sensitive.sensitive_type != public.type:
            raise TpmError(RC.TYPE, at=sensitive_at)
        if public.name_alg != ALG.NULL and len(sensitive.auth_value) > size:
            raise TpmError(RC.SIZE, at=sensitive_at)
    match public.type:
        case ALG.RSA:
            _check_rsa(public, sensitive, public_at, sensitive_at)
        case ALG.ECC if is_in_octets(public):
            _check_octets(public, sensitive, public_at)
        case ALG.ECC:
            _check_ecc(public, sensitive, public_at)
        case ALG.MLKEM | ALG.MLDSA | ALG.HASH_MLDSA:
            _check_seeded(public, sensitive, public_at)
        case _:
            _check_symmetric(public, sensitive, public_at, sensitive_at)
    protects = has(public, STORAGE) and public.name_alg != ALG.NULL
    if sensitive is not None and protects and not size // 2 <= len(sensitive.seed_value) <= size:
        raise TpmError(RC.SIZE, at=sensitive_at)


def _check_rsa(
    public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str, sensitive_at: str
) -> None:
    parameters, modulus = public.parameters, public.unique
    assert isinstance(parameters, TPMS_RSA_PARMS)
    assert isinstance(modulus, bytes)
    size = parameters.key_bits // 8
    if len(modulus) != size or not modulus[0] & 0x80:
        raise TpmError(RC.KEY, at=public_at)
    if parameters.exponent and parameters.exponent < _SMALLEST_EXPONENT:
        raise TpmError(RC.VALUE, at=public_at)
    if sensitive is not None:
        prime = sensitive.sensitive
        if len(prime) * 2 != size or not prime[0] & 0x80:
            raise TpmError(RC.KEY_SIZE, at=sensitive_at)


def _check_ecc(public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str) -> None:
    curve, point, named = ecc_curve(public), ecc_public(public), public.name_alg != ALG.NULL
    if sensitive is None:
        assert isinstance(public.unique, TPMS_ECC_POINT)
        if len(public.unique.x) != curve.size or len(public.unique.y) != curve.size:
            raise TpmError(RC.KEY, at=public_at)
        if named and not curve.contains(point):
            raise TpmError(RC.ECC_POINT, at=public_at)
    else:
        private = int.from_bytes(sensitive.sensitive)
        if not 0 < private < curve.n:
            raise TpmError(RC.KEY_SIZE)
        if named:
            ecc.check_pair(curve, private, point)


def _check_octets(public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str) -> None:
    """A key on Curve25519 or Curve448."""
    point = public.unique
    assert isinstance(point, TPMS_ECC_POINT)
    signs = has(public, TPMA_OBJECT.SIGN_ENCRYPT)
    curve, form = curve_id(public), montgomery_curve(public)
    if sensitive is None:
        whole = eddsa.is_public_key(curve, point.x) if signs else len(point.x) == form.size
        if point.y or not whole:
            raise TpmError(RC.ECC_POINT, at=public_at)
        return
    private = sensitive.sensitive
    if len(private) != (eddsa.size(curve) if signs else form.size):
        raise TpmError(RC.KEY_SIZE)
    if public.name_alg != ALG.NULL:
        own = eddsa.public_key(curve, private) if signs else montgomery.public_key(form, private)
        if (point.x, point.y) != (own, b""):
            raise TpmError(RC.BINDING)


def _check_seeded(public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str) -> None:
    """An ML-KEM or ML-DSA key; unlike others, its areas belong together without a Name, too."""
    is_kem = public.type == ALG.MLKEM
    parms = mlkem_parms(public) if is_kem else mldsa_parms(public)
    is_public_key = mlkem.is_public_key if is_kem else mldsa.is_public_key
    if not is_public_key(parms, encoded(public)):
        raise TpmError(RC.KEY, at=public_at)
    if sensitive is not None:
        public_key = mlkem.public_key if is_kem else mldsa.public_key
        if public_key(parms, sensitive.sensitive) != encoded(public):
            raise TpmError(RC.BINDING)


def _check_symmetric(
    public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE | None, public_at: str, sensitive_at: str
) -> None:
    assert isinstance(public.unique, bytes)
    size = digest_size(public.name_alg)
    if sensitive is None:
        if len(public.unique) != size:
            raise TpmError(RC.KEY, at=public_at)
        return
    if not _key_size_allowed(public, len(sensitive.sensitive)):
        raise TpmError(RC.KEY_SIZE, at=sensitive_at)
    if public.name_alg != ALG.NULL:
        if len(sensitive.seed_value) != size:
            raise TpmError(RC.KEY_SIZE, at=sensitive_at)
        expected = symmetric_unique(public, sensitive.seed_value, sensitive.sensitive)
        if not compare_digest(public.unique, expected):
            raise TpmError(RC.BINDING)


def _key_size_allowed(public: TPMT_PUBLIC, size: int) -> bool:
    parameters = public.parameters
    if isinstance(parameters, TPMS_SYMCIPHER_PARMS):
        assert parameters.sym.key_bits is not None
        return size * 8 == parameters.sym.key_bits
    assert isinstance(parameters, TPMS_KEYEDHASH_PARMS)
    details = parameters.scheme.details
    return size <= (MAX_SYM_DATA if details is None else block_size(details.hash_alg))


def symmetric_unique(public: TPMT_PUBLIC, seed_value: bytes, key: bytes) -> bytes:
    """`unique` of a SYMCIPHER or keyedHash object (Part 1, 24.5.3.2).

    For a parent it is an HMAC. 24.5.3 does not say so, but the reference implementation and libtpms
    do it, and with them every blob that guests have stored.
    """
    if has(public, STORAGE):
        return hmac(public.name_alg, seed_value, key)
    return digest(public.name_alg, seed_value, key)
