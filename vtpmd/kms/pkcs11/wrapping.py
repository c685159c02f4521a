"""Ways to wrap a DEK under a KEK that stays in the token. For the process with the module.

`A256GCM` has the layout of `kms.gcm`. Tokens without AES-GCM may offer RFC 5649, which has no
additional data: `A256KWP-SHA256` wraps the DEK followed by SHA-256 of the context. RFC 5649
authenticates all of it as one block: without the KEK nobody can combine a DEK with another context,
and a DEK is not returned for another context. A KEK is made for one of the two ways: one that may
encrypt may not wrap keys.
"""

import hashlib
import hmac
import os
from typing import Protocol, cast

from pkcs11 import (
    Attribute,
    DecryptMixin,
    EncryptMixin,
    GCMParams,
    Key,
    KeyType,
    Mechanism,
    MechanismFlag,
    ObjectClass,
    SecretKey,
    Slot,
    UnwrapMixin,
    WrapMixin,
)
from pkcs11.exceptions import MechanismInvalid, PKCS11Error

from vtpmd.storage.envelope import DEK_SIZE
from vtpmd.storage.wipe import wipe

from .. import gcm
from .errors import TokenError, meaning
from .messages import MechanismName

Rights = tuple[tuple[Attribute, MechanismFlag], tuple[Attribute, MechanismFlag]]


class Wrapping(Protocol):
    """One way to wrap. Methods raise PKCS11Error, `unwrap` also TokenError."""

    algorithm: str
    mechanism: Mechanism
    rights: Rights
    """What the KEK must be permitted to do: first to wrap, then to unwrap."""

    def wrap(self, kek: SecretKey, dek: bytes | bytearray, context: bytes) -> bytes:
        """The wrapped DEK, bound to `context`."""

    def unwrap(self, kek: SecretKey, wrapped: bytes, context: bytes) -> bytearray:
        """The DEK."""


class Gcm:
    """AES-GCM with a random IV, as `kms.gcm`."""

    algorithm = gcm.ALGORITHM
    mechanism = Mechanism.AES_GCM
    rights = (
        (Attribute.ENCRYPT, MechanismFlag.ENCRYPT),
        (Attribute.DECRYPT, MechanismFlag.DECRYPT),
    )

    def wrap(self, kek: SecretKey, dek: bytes | bytearray, context: bytes) -> bytes:
        """Encrypt in the token."""
        assert isinstance(kek, EncryptMixin)
        iv = os.urandom(gcm.IV_SIZE)
        encrypted = kek.encrypt(
            bytes(dek), mechanism=self.mechanism, mechanism_param=_parameters(iv, context)
        )
        return iv + cast(bytes, encrypted)

    def unwrap(self, kek: SecretKey, wrapped: bytes, context: bytes) -> bytearray:
        """Decrypt in the token."""
        if len(wrapped) != gcm.WRAPPED_SIZE:
            raise _not_opened()
        assert isinstance(kek, DecryptMixin)
        iv, encrypted = wrapped[: gcm.IV_SIZE], wrapped[gcm.IV_SIZE :]
        dek = kek.decrypt(
            encrypted, mechanism=self.mechanism, mechanism_param=_parameters(iv, context)
        )
        return bytearray(cast(bytes, dek))


class KeyWrap:
    """AES key wrap with padding (RFC 5649) of the DEK and the hash of its context."""

    algorithm = "A256KWP-SHA256"
    mechanism = Mechanism.AES_KEY_WRAP_PAD
    rights = (
        (Attribute.WRAP, MechanismFlag.WRAP),
        (Attribute.UNWRAP, MechanismFlag.UNWRAP),
    )

    _wrapped_size = 8 + DEK_SIZE + hashlib.sha256().digest_size

    def wrap(self, kek: SecretKey, dek: bytes | bytearray, context: bytes) -> bytes:
        """Wrap a session key that holds the DEK: tokens wrap only keys."""
        assert isinstance(kek, WrapMixin)
        subject = kek.session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                Attribute.VALUE: bytes(dek) + _digest(context),
                **_READABLE,
            }
        )
        try:
            return kek.wrap_key(cast(Key, subject), mechanism=self.mechanism)
        finally:
            subject.destroy()

    def unwrap(self, kek: SecretKey, wrapped: bytes, context: bytes) -> bytearray:
        """Unwrap to a session key, and read it."""
        if len(wrapped) != self._wrapped_size:
            raise _not_opened()
        assert isinstance(kek, UnwrapMixin)
        subject = kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            wrapped,
            mechanism=self.mechanism,
            store=False,
            capabilities=MechanismFlag(0),
            template=_READABLE,
        )
        try:
            content = bytearray(subject[Attribute.VALUE])
        finally:
            subject.destroy()
        if not hmac.compare_digest(content[DEK_SIZE:], _digest(context)):
            raise _not_opened()
        return content[:DEK_SIZE]


WRAPPINGS: dict[MechanismName, Wrapping] = {"gcm": Gcm(), "key-wrap": KeyWrap()}

_READABLE = {Attribute.TOKEN: False, Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}


def choose(slot: Slot, permitted: tuple[MechanismName, ...]) -> Wrapping:
    """The first of the `permitted` wrappings that the token offers.

    Raises TokenError.
    """
    candidates = [WRAPPINGS[name] for name in permitted]
    for wrapping in candidates:
        if _offers(slot, wrapping):
            return wrapping
    names = " or ".join(wrapping.mechanism.name for wrapping in candidates)
    raise TokenError("setup", f"the token does not offer {names}")


def by_algorithm(algorithm: str) -> Wrapping:
    """The wrapping that a slot names. Raises TokenError."""
    for wrapping in WRAPPINGS.values():
        if wrapping.algorithm == algorithm:
            return wrapping
    raise TokenError("refused", f"there is no algorithm {algorithm}")


def wrap(wrapping: Wrapping, kek: SecretKey, dek: bytes | bytearray, context: bytes) -> bytes:
    """Wrap, and check that it can be unwrapped: some tokens use another IV than the one given.

    Raises PKCS11Error and TokenError.
    """
    wrapped = wrapping.wrap(kek, dek, context)
    try:
        opened = wrapping.unwrap(kek, wrapped, context)
    except PKCS11Error as error:
        found = meaning(error)
    except TokenError as error:
        found = error.reply
    else:
        same = hmac.compare_digest(opened, dek)
        wipe(opened)
        if same:
            return wrapped
        found = _not_opened().reply
    if found.kind == "refused":
        name = wrapping.mechanism.name
        raise TokenError("unusable", f"the token does not open what it wrapped itself with {name}")
    raise TokenError(found.kind, found.reason)


def unwrap(wrapping: Wrapping, kek: SecretKey, wrapped: bytes, context: bytes) -> bytearray:
    """Unwrap. Raises TokenError and PKCS11Error.

    Modules report a wrong tag by different errors; SoftHSM has one for everything. A trial DEK that
    must open, and a second attempt, tell whether the token or the wrapped DEK is the cause.
    """
    try:
        return wrapping.unwrap(kek, wrapped, context)
    except PKCS11Error as error:
        found = meaning(error)
    if found.kind == "refused":
        raise _not_opened()
    if found.kind == "lost" or not all(kek[right] for right, _ in wrapping.rights):
        raise TokenError(found.kind, found.reason)
    wrap(wrapping, kek, bytes(DEK_SIZE), context)
    try:
        return wrapping.unwrap(kek, wrapped, context)
    except PKCS11Error:
        raise _not_opened() from None


def _not_opened() -> TokenError:
    return TokenError("refused", "the slot is damaged, or of another instance or DEK")


def _offers(slot: Slot, wrapping: Wrapping) -> bool:
    try:
        flags = slot.get_mechanism_info(wrapping.mechanism).flags
    except MechanismInvalid:
        return False
    return all(right in flags for _, right in wrapping.rights)


def _parameters(iv: bytes, context: bytes) -> GCMParams:
    return GCMParams(iv, context, gcm.TAG_SIZE * 8)


def _digest(context: bytes) -> bytes:
    return hashlib.sha256(context).digest()
