"""What a module's errors mean for a request. For the process with the module."""

from pkcs11 import exceptions as ck

from ..errors import KmsError
from .messages import Failed, FailureKind


class TokenError(KmsError):
    """The request cannot be carried out; `reply` says why."""

    def __init__(self, kind: FailureKind, reason: str) -> None:
        super().__init__(reason)
        self.reply = Failed(kind, reason)


_MEANINGS: tuple[tuple[FailureKind, str, tuple[type[ck.PKCS11Error], ...]], ...] = (
    ("pin", "the token does not accept the PIN", (
        ck.PinIncorrect, ck.PinInvalid, ck.PinLenRange,
    )),
    ("setup", "the PIN is locked: unlock it as the token's security officer", (ck.PinLocked,)),
    ("setup", "the PIN has to be set anew as the token's security officer", (
        ck.PinExpired, ck.PinTooWeak, ck.UserPinNotInitialized,
    )),
    ("setup", "the token may not be written to", (ck.TokenWriteProtected,)),
    ("setup", "the token belongs to another user just now", (
        ck.AnotherUserAlreadyLoggedIn, ck.SessionReadWriteSOExists, ck.UserTooManyTypes,
    )),
    ("unusable", "the token is full", (ck.DeviceMemory,)),
    ("unusable", "the token cannot do that", (
        ck.FunctionNotSupported, ck.MechanismInvalid, ck.MechanismParamInvalid, ck.KeySizeRange,
        ck.KeyTypeInconsistent, ck.AttributeTypeInvalid, ck.AttributeValueInvalid,
        ck.AttributeReadOnly, ck.TemplateIncomplete, ck.TemplateInconsistent, ck.FunctionRejected,
    )),
    ("refused", "the token finds the wrapped key damaged", (
        ck.EncryptedDataInvalid, ck.EncryptedDataLenRange, ck.WrappedKeyInvalid,
        ck.WrappedKeyLenRange,
    )),
    ("lost", "the session is over", (
        ck.SessionClosed, ck.SessionHandleInvalid, ck.UserNotLoggedIn, ck.KeyHandleInvalid,
        ck.ObjectHandleInvalid, ck.WrappingKeyHandleInvalid, ck.UnwrappingKeyHandleInvalid,
        ck.SlotIDInvalid,
    )),
    ("lost", "the token is gone", (
        ck.DeviceRemoved, ck.TokenNotPresent, ck.TokenNotRecognised,
    )),
)  # fmt: skip


def meaning(error: ck.PKCS11Error) -> Failed:
    """Return the reply for an error of the module; one that is in no table may pass by itself."""
    name = type(error).__name__
    for kind, words, errors in _MEANINGS:
        if isinstance(error, errors):
            return Failed(kind, f"{words} ({name})")
    return Failed("device", f"the token failed ({str(error) or name})")
