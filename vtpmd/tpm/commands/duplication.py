"""Part 3, chapter 13: Duplication Commands."""

from typing import Annotated

from ..command import Auth, command
from ..core import objects, protection, shared_seeds
from ..core.bindings import check_loadable
from ..core.names import object_name
from ..crypto.labelled import DUPLICATE
from ..rc import RC, TpmError, located
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
from ..wire.objects import TPM2B_PRIVATE, TPM2B_PUBLIC, TPMT_PUBLIC, TPMT_SENSITIVE
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
    name, name_alg = object_handle.name, object_handle.public.name_alg
    _check_duplication(object_handle.public, new_parent_handle, symmetric_alg)
    key_size = _key_size(symmetric_alg)
    if encryption_key_in and len(encryption_key_in) != key_size:
        raise TpmError(RC.SIZE, at="encryption_key_in")
    assert object_handle.sensitive is not None
    blob = protection.sized_sensitive(object_handle.sensitive, name_alg)
    key_out = secret = b""
    if symmetric_alg.algorithm != ALG.NULL:
        key_out = b"" if encryption_key_in else tpm.random(key_size)
        key = encryption_key_in or key_out
        blob = protection.wrap_inner(name, name_alg, symmetric_alg, key, blob)
    if new_parent_handle is not None:
        blob, secret = _for_new_parent(tpm, new_parent_handle, name, blob)
    return DuplicateResponse(key_out, blob, secret)


def _check_duplication(
    public: TPMT_PUBLIC, new_parent: LoadedObject | None, symmetric_alg: TPMT_SYM_DEF_OBJECT
) -> None:
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


def _key_size(cipher: TPMT_SYM_DEF_OBJECT) -> int:
    """Octets of a key of the inner wrapper; 0 if there is none."""
    return 0 if cipher.key_bits is None else cipher.key_bits // 8


def _for_new_parent(
    tpm: Tpm, new_parent: LoadedObject, name: bytes, blob: bytes
) -> tuple[bytes, bytes]:
    """(blob, outSymSeed) with an outer wrapper that the new parent can open (Part 1, 20.3.2.3)."""
    seed, secret = shared_seeds.encapsulate(tpm, new_parent, DUPLICATE)
    return protection.wrap_outer(new_parent, name, seed, blob), secret


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
    """Encrypt a duplicate for another new parent (13.2)."""
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
        with located("in_duplicate"):
            blob = protection.unwrap_outer(tpm.profile, old_parent, name, seed, in_duplicate)
    if new_parent is None:
        return RewrapResponse(blob, b"")
    if not objects.is_asymmetric_storage(new_parent.public):
        raise TpmError(RC.TYPE, at="new_parent")
    wrapped, secret = _for_new_parent(tpm, new_parent, name, blob)
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
    if len(encryption_key) != _key_size(symmetric_alg):
        raise TpmError(RC.SIZE, at="encryption_key")
    if objects.has(object_public, TPMA_OBJECT.ENCRYPTED_DUPLICATION):
        if not encryption_key:
            raise TpmError(RC.ATTRIBUTES, at="encryption_key")
        if not in_sym_seed:
            raise TpmError(RC.ATTRIBUTES, at="in_sym_seed")
    name, name_alg = object_name(object_public), object_public.name_alg
    blob = duplicate
    if in_sym_seed:
        if parent.public.type == ALG.SYMCIPHER:
            raise TpmError(RC.TYPE, at="parent_handle")
        with located("in_sym_seed"):
            seed = shared_seeds.decapsulate(tpm, parent, DUPLICATE, in_sym_seed)
        with located("duplicate"):
            blob = protection.unwrap_outer(tpm.profile, parent, name, seed, blob)
    with located("duplicate"):
        if encryption_key:
            blob = protection.unwrap_inner(
                tpm.profile, name, name_alg, symmetric_alg, encryption_key, blob
            )
        sensitive = protection.parse_sensitive(tpm.profile, blob)
    _check_imported(parent, object_public, sensitive)
    return ImportResponse(protection.wrap_sensitive(tpm, parent, name, name_alg, sensitive))


def _check_imported(parent: LoadedObject, public: TPMT_PUBLIC, sensitive: TPMT_SENSITIVE) -> None:
    """Check an object imported below a fixedTPM parent, whose children TPM2_Load trusts.

    Any other parent may exist elsewhere too, so TPM2_Load checks its children every time.
    """
    if objects.has(parent.public, TPMA_OBJECT.FIXED_TPM):
        check_loadable(
            None,
            public,
            sensitive,
            trusted=False,
            public_at="object_public",
            sensitive_at="duplicate",
        )
