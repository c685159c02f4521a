"""Part 3, chapter 12: Object Commands."""

from typing import Annotated

from ..command import Auth, ReadOnly, ResponseHandle, command
from ..core import creation, entities, keys, objects, protection, shared_seeds, templates, tickets
from ..core.bindings import check_loadable
from ..core.names import object_name
from ..crypto.hashes import digest_size
from ..crypto.labelled import IDENTITY
from ..rc import RC, TpmError, located
from ..state import Hierarchy, LoadedObject, Tpm
from ..wire.algorithms import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_SENSITIVE_DATA,
    TPMS_DERIVE,
)
from ..wire.attributes import TPMA_OBJECT
from ..wire.base import (
    TPM2B_AUTH,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_NAME,
    TPML_PCR_SELECTION,
    TPMT_TK_CREATION,
)
from ..wire.constants import ALG, CC, RH
from ..wire.creation import TPM2B_CREATION_DATA
from ..wire.interface import TPM_HANDLE, TPMI_DH_OBJECT, TPMI_DH_PARENT, TPMI_RH_HIERARCHY
from ..wire.objects import (
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_PUBLIC_NULL,
    TPM2B_SENSITIVE,
    TPM2B_TEMPLATE,
    TPMT_PUBLIC,
    TPMT_PUBLIC_DERIVE,
    TPMT_SENSITIVE,
)
from ..wire.structure import Structure, parse

_NOT_EXTERNAL = objects.FIXED | objects.LIMITED | TPMA_OBJECT.RESTRICTED
_KEY = objects.STORAGE | TPMA_OBJECT.SIGN_ENCRYPT


class CreateResponse(Structure):
    out_private: TPM2B_PRIVATE
    out_public: TPM2B_PUBLIC
    creation_data: TPM2B_CREATION_DATA
    creation_hash: TPM2B_DIGEST
    creation_ticket: TPMT_TK_CREATION


@command(CC.CREATE, long=True, read_only=ReadOnly.REFUSED, has_template=True)
def create(
    tpm: Tpm,
    parent_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    in_sensitive: TPM2B_SENSITIVE_CREATE,
    in_public: TPM2B_PUBLIC,
    outside_info: TPM2B_DATA,
    creation_pcr: TPML_PCR_SELECTION,
) -> CreateResponse:
    """Create an object that can be loaded below a parent (12.1)."""
    if not objects.is_parent(parent_handle):
        raise TpmError(RC.TYPE, at="parent_handle")
    # libtpms builds the object in a slot; clients know that Create needs a free one.
    objects.require_slot(tpm)
    templates.check_creation(parent_handle, in_public, in_sensitive.data, at="in_public")
    auth_value = creation.authorization_value(
        in_sensitive.user_auth, in_public.name_alg, at="in_sensitive"
    )
    created = creation.ordinary_object(tpm, parent_handle, in_public, auth_value, in_sensitive.data)
    data, creation_hash = creation.creation_data(
        tpm, parent_handle, in_public.name_alg, creation_pcr, outside_info
    )
    ticket = tickets.creation(tpm, parent_handle.hierarchy, created.name, creation_hash)
    private = _private_area(tpm, parent_handle, created)
    return CreateResponse(private, created.public, data, creation_hash, ticket)


def _private_area(tpm: Tpm, parent: LoadedObject, created: LoadedObject) -> bytes:
    """The private area from which a new object can be loaded below its parent."""
    assert created.sensitive is not None
    return protection.wrap_sensitive(
        tpm, parent, created.name, created.public.name_alg, created.sensitive
    )


class LoadResponse(Structure):
    object_handle: Annotated[TPM_HANDLE, ResponseHandle]
    name: TPM2B_NAME


@command(CC.LOAD)
def load(
    tpm: Tpm,
    parent_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    in_private: TPM2B_PRIVATE,
    in_public: TPM2B_PUBLIC,
) -> LoadResponse:
    """Load an object below its parent (12.2)."""
    objects.require_slot(tpm)
    if not in_private:
        raise TpmError(RC.SIZE, at="in_private")
    if not objects.is_parent(parent_handle):
        raise TpmError(RC.TYPE, at="parent_handle")
    name = object_name(in_public)
    with located("in_private"):
        sensitive = protection.unwrap_sensitive(tpm.profile, parent_handle, name, in_private)
    check_loadable(
        parent_handle,
        in_public,
        sensitive,
        trusted=objects.has(parent_handle.public, TPMA_OBJECT.FIXED_TPM),
        public_at="in_public",
        sensitive_at="in_private",
    )
    loaded = objects.child(parent_handle, in_public, sensitive, name)
    if in_public.type == ALG.RSA:
        keys.rsa_private(loaded)
    return LoadResponse(objects.add(tpm, loaded), name)


class LoadExternalResponse(Structure):
    object_handle: Annotated[TPM_HANDLE, ResponseHandle]
    name: TPM2B_NAME


@command(CC.LOAD_EXTERNAL)
def load_external(
    tpm: Tpm,
    /,
    in_private: TPM2B_SENSITIVE,
    in_public: TPM2B_PUBLIC_NULL,
    hierarchy: TPMI_RH_HIERARCHY,
) -> LoadExternalResponse:
    """Load a public area, or an object that is not protected by a TPM (12.3)."""
    objects.require_slot(tpm)
    if not entities.is_enabled(tpm, hierarchy):
        raise TpmError(RC.HIERARCHY, at="hierarchy")
    if in_private is not None:
        if hierarchy != RH.NULL:
            raise TpmError(RC.HIERARCHY, at="hierarchy")
        if in_public.object_attributes & _NOT_EXTERNAL:
            raise TpmError(RC.ATTRIBUTES, at="in_public")
    check_loadable(
        None,
        in_public,
        in_private,
        trusted=False,
        public_at="in_public",
        sensitive_at="in_private",
    )
    loaded = objects.external(in_public, in_private, hierarchy)
    if in_private is not None and in_public.type == ALG.RSA:
        keys.rsa_private(loaded)
    return LoadExternalResponse(objects.add(tpm, loaded), loaded.name)


class ReadPublicResponse(Structure):
    out_public: TPM2B_PUBLIC
    name: TPM2B_NAME
    qualified_name: TPM2B_NAME


@command(CC.READ_PUBLIC, keeps_orderly=True)
def read_public(
    tpm: Tpm, object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT], /
) -> ReadPublicResponse:
    """Return the public area of a loaded object (12.4)."""
    if object_handle.sequence is not None:
        raise TpmError(RC.SEQUENCE)
    return ReadPublicResponse(
        object_handle.public, object_handle.name, object_handle.qualified_name
    )


class ActivateCredentialResponse(Structure):
    cert_info: TPM2B_DIGEST


@command(CC.ACTIVATE_CREDENTIAL)
def activate_credential(
    tpm: Tpm,
    activate_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.ADMIN],
    key_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER],
    /,
    credential_blob: TPM2B_ID_OBJECT,
    secret: TPM2B_ENCRYPTED_SECRET,
) -> ActivateCredentialResponse:
    """Recover a credential, which shows that object and key are in one TPM (12.5)."""
    _require_credential_key(key_handle, at="key_handle")
    with located("secret"):
        seed = shared_seeds.decapsulate(tpm, key_handle, IDENTITY, secret)
    with located("credential_blob"):
        credential = protection.unwrap_credential(
            tpm.profile, key_handle, activate_handle.name, seed, credential_blob
        )
    return ActivateCredentialResponse(credential)


class MakeCredentialResponse(Structure):
    credential_blob: TPM2B_ID_OBJECT
    secret: TPM2B_ENCRYPTED_SECRET


@command(CC.MAKE_CREDENTIAL)
def make_credential(
    tpm: Tpm,
    handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    credential: TPM2B_DIGEST,
    object_name: TPM2B_NAME,
) -> MakeCredentialResponse:
    """Encrypt a credential for the TPM that holds a key and the object of this Name (12.6)."""
    _require_credential_key(handle, at="handle")
    if len(credential) > digest_size(handle.public.name_alg):
        raise TpmError(RC.SIZE, at="credential")
    seed, secret = shared_seeds.encapsulate(tpm, handle, IDENTITY)
    blob = protection.wrap_credential(handle, object_name, seed, credential)
    return MakeCredentialResponse(blob, secret)


def _require_credential_key(key: LoadedObject, at: str) -> None:
    """Require a restricted asymmetric key: no other has a symmetric algorithm."""
    shares = key.public.type in objects.SHARING_SEEDS
    if not shares or not objects.has(key.public, objects.STORAGE):
        raise TpmError(RC.TYPE, at=at)


class UnsealResponse(Structure):
    out_data: TPM2B_SENSITIVE_DATA


@command(CC.UNSEAL)
def unseal(
    tpm: Tpm, item_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.USER], /
) -> UnsealResponse:
    """Return the data of a sealed data object (12.7)."""
    if item_handle.public.type != ALG.KEYEDHASH:
        raise TpmError(RC.TYPE, at="item_handle")
    if item_handle.public.object_attributes & _KEY:
        raise TpmError(RC.ATTRIBUTES, at="item_handle")
    assert item_handle.sensitive is not None
    return UnsealResponse(item_handle.sensitive.sensitive)


class ObjectChangeAuthResponse(Structure):
    out_private: TPM2B_PRIVATE


@command(CC.OBJECT_CHANGE_AUTH, read_only=ReadOnly.REFUSED)
def object_change_auth(
    tpm: Tpm,
    object_handle: Annotated[LoadedObject, TPMI_DH_OBJECT, Auth.ADMIN],
    parent_handle: Annotated[LoadedObject, TPMI_DH_OBJECT],
    /,
    new_auth: TPM2B_AUTH,
) -> ObjectChangeAuthResponse:
    """Wrap an object again with a new authValue; the loaded object does not change (12.8).

    Only for objects that a Storage Parent protects: not for Primary, derived or external objects.
    """
    if object_handle.sequence is not None:
        raise TpmError(RC.TYPE, at="object_handle")
    name_alg = object_handle.public.name_alg
    auth_value = creation.authorization_value(new_auth, name_alg, at="new_auth")
    if not objects.is_child(object_handle, parent_handle):
        raise TpmError(RC.TYPE, at="parent_handle")
    assert object_handle.sensitive is not None
    old = object_handle.sensitive
    sensitive = TPMT_SENSITIVE(old.sensitive_type, auth_value, old.seed_value, old.sensitive)
    return ObjectChangeAuthResponse(
        protection.wrap_sensitive(tpm, parent_handle, object_handle.name, name_alg, sensitive)
    )


class CreateLoadedResponse(Structure):
    object_handle: Annotated[TPM_HANDLE, ResponseHandle]
    out_private: TPM2B_PRIVATE
    out_public: TPM2B_PUBLIC
    name: TPM2B_NAME


@command(CC.CREATE_LOADED, long=True, read_only=ReadOnly.REFUSED, has_template=True)
def create_loaded(
    tpm: Tpm,
    parent_handle: Annotated[LoadedObject | Hierarchy, TPMI_DH_PARENT, Auth.USER],
    /,
    in_sensitive: TPM2B_SENSITIVE_CREATE,
    in_public: TPM2B_TEMPLATE,
) -> CreateLoadedResponse:
    """Create a Primary or Ordinary Object, or derive one, and load it (12.9)."""
    parent, data = parent_handle, in_sensitive.data
    derives = isinstance(parent, LoadedObject) and objects.is_derivation_parent(parent)
    if isinstance(parent, LoadedObject) and not derives and not objects.is_parent(parent):
        raise TpmError(RC.TYPE, at="parent_handle")
    objects.require_slot(tpm)
    with located("in_public"):
        kind = TPMT_PUBLIC_DERIVE if derives else TPMT_PUBLIC
        template: TPMT_PUBLIC = parse(kind, in_public, tpm.profile)
    auth_value = creation.authorization_value(
        in_sensitive.user_auth, template.name_alg, at="in_sensitive"
    )
    private = b""
    if isinstance(parent, Hierarchy):
        templates.check_creation(None, template, data, at="in_public")
        created = creation.primary_object(tpm, parent, template, auth_value, data)
    elif derives:
        derive = _derivation_parameters(tpm, parent, template, data)
        created = creation.derived_object(tpm, parent, template, auth_value, derive)
    else:
        templates.check_creation(parent, template, data, at="in_public")
        created = creation.ordinary_object(tpm, parent, template, auth_value, data)
        private = _private_area(tpm, parent, created)
    handle = objects.add(tpm, created)
    return CreateLoadedResponse(handle, private, created.public, created.name)


def _derivation_parameters(
    tpm: Tpm, parent: LoadedObject, template: TPMT_PUBLIC, data: bytes
) -> TPMS_DERIVE:
    """Label and context: those of the template, and those of `data` where it has none."""
    if template.type == ALG.RSA:
        raise TpmError(RC.TYPE, at="in_public")
    if objects.has(template, TPMA_OBJECT.SENSITIVE_DATA_ORIGIN):
        raise TpmError(RC.ATTRIBUTES)
    templates.check_attributes(parent, template, at="in_public")
    derive = template.unique
    assert isinstance(derive, TPMS_DERIVE)
    if data:
        other, _ = TPMS_DERIVE.unmarshal(data, 0, tpm.profile)
        derive = TPMS_DERIVE(derive.label or other.label, derive.context or other.context)
    return derive
