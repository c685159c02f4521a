"""The KEKs in a token: finding them by their labels, making, checking and destroying them.

For the process with the module. Functions raise TokenError and PKCS11Error.
"""

import os

from pkcs11 import Attribute, KeyType, ObjectClass, SecretKey, Session
from pkcs11.exceptions import AttributeTypeInvalid

from ..gcm import KEK_SIZE
from ..key_names import MAX_VERSIONS, versioned
from .errors import TokenError
from .messages import KekName
from .wrapping import Wrapping

KEK_BITS = 8 * KEK_SIZE
_ID_SIZE = 16


def name_of(kek: SecretKey) -> KekName:
    """The name by which a KEK is found."""
    try:
        return KekName(kek[Attribute.LABEL], kek[Attribute.ID].hex())
    except ValueError as error:
        raise TokenError("unusable", f"a key in the token cannot be used: {error}") from None


def newest(session: Session, base: str, first: int, wrapping: Wrapping) -> SecretKey | None:
    """The newest version of `base` from `first` on; None if there is none.

    Of several with the same label, one that is fit for `wrapping` is preferred.
    """
    candidates: list[SecretKey] = []
    version = first
    while found := labelled(session, label(base, version)):
        candidates = found
        version += 1
    for kek in candidates:
        if _unfit(kek, wrapping) is None:
            return kek
    return candidates[0] if candidates else None


def make(session: Session, label: str, wrapping: Wrapping) -> SecretKey:
    """Generate a KEK that never leaves the token and is permitted nothing but `wrapping`."""
    (_, sealing), (_, opening) = wrapping.rights
    kek = session.generate_key(
        KeyType.AES,
        KEK_BITS,
        id=os.urandom(_ID_SIZE),
        label=label,
        store=True,
        capabilities=sealing | opening,
        template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
        },
    )
    assert isinstance(kek, SecretKey)
    return kek


def check(kek: SecretKey, wrapping: Wrapping) -> None:
    """Raise TokenError unless a KEK is fit for wrapping: 256 bits, kept in the token, permitted."""
    reason = _unfit(kek, wrapping)
    if reason is not None:
        raise TokenError("unusable", f"key {kek[Attribute.LABEL]} cannot be used to wrap: {reason}")


def find(session: Session, name: KekName, wrapping: Wrapping) -> SecretKey:
    """The KEK of this name, which has to be permitted to unwrap."""
    found = labelled(session, name.label, name.id)
    shown = f"key {name.label}" + (f" with id {name.id}" if name.id else "")
    if not found:
        raise TokenError("missing", f"there is no {shown} in the token")
    if len(found) > 1:
        raise TokenError("unusable", f"there are {len(found)} times {shown} in the token")
    _, (opening, _) = wrapping.rights
    if not _attribute(found[0], opening):
        raise TokenError(
            "unusable",
            f"{shown} cannot be used to unwrap: its attribute CKA_{opening.name} is false",
        )
    return found[0]


def destroy(session: Session, base: str, known: int) -> None:
    """Destroy all versions of `base`, of which there were at least `known`."""
    version = 1
    while (found := labelled(session, label(base, version))) or version <= known:
        for kek in found:
            kek.destroy()
        version += 1


def labelled(session: Session, label: str | None, id: str = "") -> list[SecretKey]:
    """The AES keys with this label and id, where given."""
    wanted: dict[Attribute, object] = {
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
    }
    if label is not None:
        wanted[Attribute.LABEL] = label
    if id:
        wanted[Attribute.ID] = bytes.fromhex(id)
    return [found for found in session.get_objects(wanted) if isinstance(found, SecretKey)]


def label(base: str, version: int) -> str:
    """The label of a version of `base`. Raises TokenError above MAX_VERSIONS."""
    if version > MAX_VERSIONS:
        raise TokenError("unusable", f"key {base} would have more than {MAX_VERSIONS} versions")
    return versioned(base, version)


def _unfit(kek: SecretKey, wrapping: Wrapping) -> str | None:
    """Why a KEK must not be used with `wrapping`; None if it may."""
    if _attribute(kek, Attribute.VALUE_LEN) != KEK_SIZE:
        return f"it does not have {KEK_BITS} bits"
    if _attribute(kek, Attribute.EXTRACTABLE) or not _attribute(kek, Attribute.SENSITIVE):
        return "it may leave the token (CKA_EXTRACTABLE, or not CKA_SENSITIVE)"
    for right, _ in wrapping.rights:
        if not _attribute(kek, right):
            return f"its attribute CKA_{right.name} is false"
    return None


def _attribute(kek: SecretKey, attribute: Attribute) -> object:
    try:
        value: object = kek[attribute]
    except AttributeTypeInvalid:
        return None
    return value
