"""What is new in a new object: keys, seedValue and `unique` (Part 1, 24.7)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isqrt

from ..crypto import ecc, eddsa, mldsa, mlkem, montgomery, rsa
from ..crypto.ecc import Curve
from ..crypto.hashes import block_size, digest_size
from ..crypto.primary import PrimaryDerivation
from ..crypto.rsa import DEFAULT_EXPONENT, RsaKey
from ..rc import RC, TpmError
from ..wire.algorithms import TPMS_ECC_POINT, TPMS_SYMCIPHER_PARMS
from ..wire.attributes import TPMA_OBJECT
from ..wire.objects import (
    TPMS_ECC_PARMS,
    TPMS_HASH_MLDSA_PARMS,
    TPMS_KEYEDHASH_PARMS,
    TPMS_MLDSA_PARMS,
    TPMS_MLKEM_PARMS,
    TPMS_RSA_PARMS,
    TPMT_PUBLIC,
    TPMT_SENSITIVE,
)
from .bindings import symmetric_unique
from .keys import (
    coordinates,
    curve_id,
    ecc_curve,
    is_in_octets,
    montgomery_curve,
    octets_point,
    rsa_exponent,
)
from .objects import STORAGE, has

ShouldStop = Callable[[], bool]


class KeySource:
    """The source of an Ordinary Object's random octets, or of a Derived Object's KDF stream.

    For a Primary Object, `PrimaryDerivation` has the same methods.
    """

    def __init__(self, octets: Callable[[int], bytes]) -> None:
        self.octets = octets

    def rsa(self, bits: int, e: int, *, sign: bool, should_stop: ShouldStop) -> RsaKey:
        """An RSA key; only Ordinary Objects get here (Part 1, 25.5)."""
        return rsa.generate(bits, e, self.octets, should_stop)

    def ecc(self, curve: Curve) -> int:
        """A private key."""
        return ecc.private_key(curve, self.octets)

    def seed_value(self, name_alg: int) -> bytes:
        """The seedValue, drawn last."""
        return self.octets(digest_size(name_alg))


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """The parts of an object that its template leaves open."""

    unique: bytes | TPMS_ECC_POINT
    secret: bytes = field(repr=False)
    """TPMT_SENSITIVE.sensitive."""
    seed_value: bytes = field(repr=False)
    rsa_key: RsaKey | None = field(default=None, repr=False)

    def areas(self, template: TPMT_PUBLIC, auth_value: bytes) -> tuple[TPMT_PUBLIC, TPMT_SENSITIVE]:
        """The public and the sensitive area of the object."""
        public = TPMT_PUBLIC(
            template.type,
            template.name_alg,
            template.object_attributes,
            template.auth_policy,
            template.parameters,
            self.unique,
        )
        return public, TPMT_SENSITIVE(template.type, auth_value, self.seed_value, self.secret)


def generate(
    template: TPMT_PUBLIC,
    data: bytes,
    source: KeySource | PrimaryDerivation,
    should_stop: ShouldStop,
) -> KeyMaterial:
    """Make the key material for a checked template; `data` is what the caller brought.

    Raises RC.RANGE for an RSA exponent, RC.KEY_SIZE and RC.SIZE for `data` of the wrong size,
    and RC.CANCELED.
    """
    parameters = template.parameters
    if has(template, TPMA_OBJECT.SENSITIVE_DATA_ORIGIN):
        data = b""
    rsa_key: RsaKey | None = None
    unique: bytes | TPMS_ECC_POINT
    match parameters:
        case TPMS_RSA_PARMS():
            e = rsa_exponent(template)
            if not _is_exponent(e):
                raise TpmError(RC.RANGE)
            sign = has(template, TPMA_OBJECT.SIGN_ENCRYPT)
            rsa_key = source.rsa(parameters.key_bits, e, sign=sign, should_stop=should_stop)
            secret = rsa_key.p.to_bytes(parameters.key_bits // 16)
            unique = rsa_key.public.n.to_bytes(parameters.key_bits // 8)
        case TPMS_ECC_PARMS() if is_in_octets(template):
            secret, unique = _octets_pair(template, source.octets)
        case TPMS_ECC_PARMS():
            curve = ecc_curve(template)
            private = source.ecc(curve)
            secret = curve.octets(private)
            unique = coordinates(curve, ecc.public_point(curve, private))
        case TPMS_MLKEM_PARMS():
            secret = source.octets(mlkem.SEED_SIZE)
            unique = mlkem.public_key(parameters.parameter_set, secret)
        case TPMS_MLDSA_PARMS() | TPMS_HASH_MLDSA_PARMS():
            secret = source.octets(mldsa.SEED_SIZE)
            unique = mldsa.public_key(parameters.parameter_set, secret)
        case TPMS_SYMCIPHER_PARMS():
            secret = _symmetric_key(parameters, data, source)
        case _:
            secret = _keyedhash_secret(template, parameters, data, source)
    seed_value = source.seed_value(template.name_alg)
    if isinstance(parameters, TPMS_SYMCIPHER_PARMS | TPMS_KEYEDHASH_PARMS):
        unique = symmetric_unique(template, seed_value, secret)
    elif not has(template, STORAGE):
        seed_value = b""
    return KeyMaterial(unique, secret, seed_value, rsa_key)


def _octets_pair(template: TPMT_PUBLIC, octets: ecc.Octets) -> tuple[bytes, TPMS_ECC_POINT]:
    """A key of Curve25519 or Curve448: of EdDSA if it signs, else of X25519 or X448.

    Part 1, 44.6 is about other curves: a private key is as many octets as the RFCs say.
    """
    if has(template, TPMA_OBJECT.SIGN_ENCRYPT):
        curve = curve_id(template)
        private = eddsa.private_key(curve, octets)
        return private, octets_point(eddsa.public_key(curve, private))
    form = montgomery_curve(template)
    private = montgomery.private_key(form, octets)
    return private, octets_point(montgomery.public_key(form, private))


def _symmetric_key(
    parameters: TPMS_SYMCIPHER_PARMS, data: bytes, source: KeySource | PrimaryDerivation
) -> bytes:
    assert parameters.sym.key_bits is not None
    size = parameters.sym.key_bits // 8
    if data and len(data) != size:
        raise TpmError(RC.KEY_SIZE)
    return data or source.octets(size)


def _keyedhash_secret(
    template: TPMT_PUBLIC,
    parameters: TPMS_KEYEDHASH_PARMS,
    data: bytes,
    source: KeySource | PrimaryDerivation,
) -> bytes:
    details = parameters.scheme.details
    hash_alg = template.name_alg if details is None else details.hash_alg
    is_key = template.object_attributes & (TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.DECRYPT)
    if is_key and len(data) > block_size(hash_alg):
        raise TpmError(RC.SIZE)
    return data or source.octets(digest_size(hash_alg))


def _is_exponent(e: int) -> bool:
    """Whether keys are generated with this exponent: 65537 or a larger prime."""
    if e == DEFAULT_EXPONENT:
        return True
    return e > DEFAULT_EXPONENT and e % 2 == 1 and all(e % d for d in range(3, isqrt(e) + 1, 2))
