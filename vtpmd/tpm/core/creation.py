"""Creating objects: Primary, Ordinary and Derived (Part 1, clauses 24 and 25)."""

from typing import Final

from ..crypto.drbg import KdfStream
from ..crypto.hashes import digest, digest_size
from ..crypto.primary import PrimaryDerivation
from ..crypto.primes import NoFactorError
from ..rc import RC, TpmError
from ..state import Hierarchy, LoadedObject, Tpm
from ..wire.algorithms import TPMS_DERIVE, TPMS_SCHEME_XOR
from ..wire.base import TPMS_PCR_SELECTION
from ..wire.constants import ALG, MAX_DERIVATION_BITS, RH
from ..wire.creation import TPMS_CREATION_DATA
from ..wire.objects import TPMS_KEYEDHASH_PARMS, TPMT_PUBLIC
from . import objects, pcrs
from .key_material import KeyMaterial, KeySource, generate
from .names import object_name, parent_qualified_name

PRIMARY_CACHE_SIZE: Final = 8
"""How many derived primary keys are cached: an EK, an SRK and a few more."""


def authorization_value(given: bytes, name_alg: int, at: str) -> bytes:
    """The authValue without its trailing zeros (Part 1, 16.6.4.3), for an object with this nameAlg.

    Raises RC.SIZE at `at` if that is longer than a digest. Without a nameAlg nothing is raised:
    another check fails then.
    """
    stripped = given.rstrip(b"\0")
    if name_alg != ALG.NULL and len(stripped) > digest_size(name_alg):
        raise TpmError(RC.SIZE, at=at)
    return stripped


def primary_object(
    tpm: Tpm,
    hierarchy: Hierarchy,
    template: TPMT_PUBLIC,
    auth_value: bytes,
    data: bytes,
    modulus: int | None = None,
) -> LoadedObject:
    """The Primary Object for a checked template, not yet in a slot. Raises as `generate`.

    `modulus`: what is thought to be that of its RSA key, which is found sooner then.
    """
    material = _primary_material(tpm, hierarchy, template, data, modulus)
    return _object(hierarchy, template, auth_value, material)


def ordinary_object(
    tpm: Tpm, parent: LoadedObject, template: TPMT_PUBLIC, auth_value: bytes, data: bytes
) -> LoadedObject:
    """A new child of a Storage Parent, not yet in a slot. Raises as `generate`."""
    material = generate(template, data, KeySource(tpm.random), tpm.should_stop)
    return _object(parent, template, auth_value, material)


def derived_object(
    tpm: Tpm, parent: LoadedObject, template: TPMT_PUBLIC, auth_value: bytes, derive: TPMS_DERIVE
) -> LoadedObject:
    """The object a Derivation Parent yields for label and context, not yet in a slot.

    `template` has been checked and is not that of an RSA key.
    """
    assert isinstance(parent.public.parameters, TPMS_KEYEDHASH_PARMS)
    details = parent.public.parameters.scheme.details
    assert isinstance(details, TPMS_SCHEME_XOR)
    assert parent.sensitive is not None
    stream = KdfStream(
        details.hash_alg,
        parent.sensitive.sensitive,
        derive.label,
        derive.context,
        MAX_DERIVATION_BITS,
    )
    material = generate(template, b"", KeySource(stream.generate), tpm.should_stop)
    return _object(parent, template, auth_value, material)


def _object(
    parent: LoadedObject | Hierarchy, template: TPMT_PUBLIC, auth_value: bytes, made: KeyMaterial
) -> LoadedObject:
    public, sensitive = made.areas(template, auth_value)
    return objects.child(parent, public, sensitive, object_name(public), made.rsa_key)


def _primary_material(
    tpm: Tpm, hierarchy: Hierarchy, template: TPMT_PUBLIC, data: bytes, modulus: int | None
) -> KeyMaterial:
    proofs: tuple[bytes, ...] = ()
    if hierarchy.handle == RH.ENDORSEMENT:
        proofs = (tpm.permanent.owner.proof, tpm.permanent.endorsement.proof)
    parts = (hierarchy.seed, bytes((hierarchy.seed_level,)), *proofs, template.marshal(), data)
    key = digest(ALG.SHA512, *(len(part).to_bytes(2) + part for part in parts))
    cache = tpm.primary_cache
    found: KeyMaterial | None = cache.pop(key, None)
    if found is None:
        source = hierarchy.seed, object_name(template), data, hierarchy.seed_level, proofs
        try:
            derivation = PrimaryDerivation(*source, modulus)
            found = generate(template, data, derivation, tpm.should_stop)
        except NoFactorError:
            found = generate(template, data, PrimaryDerivation(*source), tpm.should_stop)
    cache[key] = found  # last in the dict: the most recently used
    if len(cache) > PRIMARY_CACHE_SIZE:
        del cache[next(iter(cache))]
    return found


def creation_data(
    tpm: Tpm,
    parent: LoadedObject | Hierarchy,
    name_alg: int,
    creation_pcr: list[TPMS_PCR_SELECTION],
    outside_info: bytes,
) -> tuple[TPMS_CREATION_DATA, bytes]:
    """(creationData, creationHash) of an object created now below `parent` (24.8).

    Without PCRs, pcrDigest is the digest of no data as in libtpms, not empty as in Part 2, 15.1.
    """
    pcr_digest, selection = pcrs.selection_digest(tpm, name_alg, creation_pcr)
    data = TPMS_CREATION_DATA(
        selection,
        pcr_digest,
        1 << tpm.locality if tpm.locality < 5 else tpm.locality,
        ALG.NULL if isinstance(parent, Hierarchy) else parent.public.name_alg,
        parent.name,
        parent_qualified_name(parent),
        outside_info,
    )
    return data, digest(name_alg, data.marshal())
