"""Part 3, chapter 13: Duplication Commands."""

from typing import Annotated

from ..command import Auth, command
from ..core import objects, protection, shared_seeds
from ..core.bindings import check_loadable
from ..core.names import object_name
from ..crypto.labelled import DUPLICATE
from ..rc import RC, TpmError, blame
from ..state import LoadedObject, Tpm
from ..wire.algorithms import (
    TPM2B_ENCRYPTED_SECRET,
    TPMT_SYM_DEF_OBJECT,
    TPMT_SYM_DEF_OBJECT_NULL,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import TPM2B_DATA, TPM2B_NAME
from ..wire.constants import ALG, CC
from ..wire.interface import TPMI_DH_OBJECT, TPMI_DH_OBJECT_NULL
from ..wire.limits import MAX_PRIVATE_SIZE
from ..wire.objects import TPM2B_PRIVATE, TPM2B_PUBLIC
from ..wire.structure import Structure


class DuplicateResponse(Structure):
    encryption_key_out: TPM2B_DATA
    duplicate: TPM2B_PRIVATE
    out_sym_seed: TPM2B_ENCRYPTED_SECRET


@command(CC.DUPLICATE)
def duplicate(
    tpm: Tpm,
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.DUP],
    new_parent_handle: Annotated[LoadedObject | None, TPMI_DH_OBJECT_NULL],
    /,
    encryption_key_in: TPM2B_DATA,
    symmetric_alg: TPMT_SYM_DEF_OBJECT_NULL,
) -> DuplicateResponse:
    """Encrypt an object for another parent (13.1)."""
    public, new_parent = object_handle.public, new_parent_handle
    if objects.has(public, TPMA_OBJECT.FIXED_PARENT):
        raise TpmError(RC.ATTRIBUTES, at="object_handle")
    if public.name_alg == ALG.NULL:
        raise TpmError(RC.TYPE, at="object_handle")
    if new_parent is not None and not objects.is_asymmetric_storage(new_parent.public):
        raise TpmError(RC.TYPE, at="new_parent_handle")
    if objects.has(public, TPMA_OBJECT.ENCRYPTED_DUPLICATION):
        if symmetric_alg.algorithm == ALG.NULL:
            raise TpmError(RC.SYMMETRIC, at="symmetric_alg")
        if new_parent is None:
            raise TpmError(RC.HIERARCHY, at="new_parent_handle")
    key_size = _key_size(symmetric_alg)
    if encryption_key_in and len(encryption_key_in) != key_size:
        raise TpmError(RC.SIZE, at="encryption_key_in")
    assert object_handle.sensitive is not None
    blob = protection.sized_sensitive(object_handle.sensitive, public.name_alg)
    generated = b""
    if symmetric_alg.algorithm != ALG.NULL:
        generated = b"" if encryption_key_in else tpm.random(key_size)
        blob = protection.wrap_inner(
            object_handle.name,
            public.name_alg,
            symmetric_alg,
            encryption_key_in or generated,
            blob,
        )
    secret = b""
    if new_parent is not None:
        seed, secret = shared_seeds.encapsulate(tpm, new_parent, DUPLICATE)
        blob = protection.wrap_outer(new_parent, object_handle.name, seed, blob)
    return DuplicateResponse(generated, blob, secret)


def _key_size(cipher: TPMT_SYM_DEF_OBJECT) -> int:
    """Octets of a key of the inner wrapper; 0 if there is none."""
    return 0 if cipher.key_bits is None else cipher.key_bits // 8


class RewrapResponse(Structure):
    out_duplicate: TPM2B_PRIVATE
    out_sym_seed: TPM2B_ENCRYPTED_SECRET


@command(CC.REWRAP)
def rewrap(
    tpm: Tpm,
    old_parent: Annotated[LoadedObject | None, TPMI_DH_OBJECT_NULL, Auth.USER],
    new_parent: Annotated[LoadedObject | None, TPMI_DH_OBJECT_NULL],
    /,
    in_duplicate: TPM2B_PRIVATE,
    name: TPM2B_NAME,
    in_sym_seed: TPM2B_ENCRYPTED_SECRET,
) -> RewrapResponse:
    """Pass a duplicate on to another parent (13.2)."""
    if (old_parent is None) == bool(in_sym_seed):
        raise TpmError(RC.HANDLE, at="old_parent")
    blob = in_duplicate
    if old_parent is not None:
        if not objects.is_asymmetric_storage(old_parent.public):
            raise TpmError(RC.TYPE, at="old_parent")
        try:
            seed = shared_seeds.decapsulate(tpm, old_parent, DUPLICATE, in_sym_seed)
        except TpmError:
            raise TpmError(RC.VALUE, at="in_sym_seed") from None
        with blame("in_duplicate"):
            blob = protection.unwrap_outer(tpm.profile, old_parent, name, seed, in_duplicate)
    if new_parent is None:
        return RewrapResponse(blob, b"")
    if not objects.is_asymmetric_storage(new_parent.public):
        raise TpmError(RC.TYPE, at="new_parent")
    seed, secret = shared_seeds.encapsulate(tpm, new_parent, DUPLICATE)
    wrapped = protection.wrap_outer(new_parent, name, seed, blob)
    if len(wrapped) > MAX_PRIVATE_SIZE:
        raise TpmError(RC.VALUE, at="in_duplicate")
    return RewrapResponse(wrapped, secret)


class ImportResponse(Structure):
    out_private: TPM2B_PRIVATE


@command(CC.IMPORT)
def import_(
    tpm: Tpm,
    parent_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    encryption_key: TPM2B_DATA,
    object_public: TPM2B_PUBLIC,
    duplicate: TPM2B_PRIVATE,
    in_sym_seed: TPM2B_ENCRYPTED_SECRET,
    symmetric_alg: TPMT_SYM_DEF_OBJECT_NULL,
) -> ImportResponse:
    """Turn a duplicate into an object that can be loaded below a parent (13.3)."""
    parent = parent_handle
    if object_public.object_attributes & (objects.FIXED | objects.LIMITED):
        raise TpmError(RC.ATTRIBUTES, at="object_public")
    if not objects.is_parent(parent):
        raise TpmError(RC.TYPE, at="parent_handle")
    inner = symmetric_alg.algorithm != ALG.NULL
    if len(encryption_key) != _key_size(symmetric_alg):
        raise TpmError(RC.SIZE, at="encryption_key")
    encrypted_duplication = objects.has(object_public, TPMA_OBJECT.ENCRYPTED_DUPLICATION)
    if encrypted_duplication and not inner:
        raise TpmError(RC.ATTRIBUTES, at="encryption_key")
    if encrypted_duplication and not in_sym_seed:
        raise TpmError(RC.ATTRIBUTES, at="in_sym_seed")
    name, name_alg = object_name(object_public), object_public.name_alg
    blob = duplicate
    if in_sym_seed:
        if parent.public.type == ALG.SYMCIPHER:
            raise TpmError(RC.TYPE, at="parent_handle")
        with blame("in_sym_seed"):
            seed = shared_seeds.decapsulate(tpm, parent, DUPLICATE, in_sym_seed)
        with blame("duplicate"):
            blob = protection.unwrap_outer(tpm.profile, parent, name, seed, blob)
    with blame("duplicate"):
        if inner:
            blob = protection.unwrap_inner(
                tpm.profile, name, name_alg, symmetric_alg, encryption_key, blob
            )
        sensitive = protection.parse_sensitive(tpm.profile, blob)
    if objects.has(parent.public, TPMA_OBJECT.FIXED_TPM):
        # Checked here once and for all: a fixedTPM parent's children are trusted when loaded.
        check_loadable(
            None,
            object_public,
            sensitive,
            trusted=False,
            public_at="object_public",
            sensitive_at="duplicate",
        )
    return ImportResponse(protection.wrap_sensitive(tpm, parent, name, name_alg, sensitive))
