"""One token, opened and logged in to. For the process with the module."""

from collections.abc import Iterator

import pkcs11
from pkcs11 import Attribute, Session, Slot, Token, TokenFlag
from pkcs11.exceptions import (
    PKCS11Error,
    TokenNotPresent,
    TokenNotRecognised,
    UserAlreadyLoggedIn,
)

from vtpmd.storage.envelope import DEK_SIZE
from vtpmd.storage.wipe import wipe

from . import keks, wrapping
from .errors import TokenError
from .messages import (
    Check,
    Checked,
    Describe,
    Destroy,
    Destroyed,
    Made,
    Make,
    Open,
    Opened,
    Reply,
    Request,
    Rewrap,
    Sealed,
    Unwrap,
    Unwrapped,
    Wrap,
)
from .wrapping import Wrapping


class OpenToken:
    """Answers requests with the keys of one token. Methods raise TokenError and PKCS11Error."""

    def __init__(self, session: Session, opened: Opened, wrapping: Wrapping) -> None:
        self.opened = opened
        self._session = session
        self._wrapping = wrapping

    def answer(self, request: Request) -> Reply:
        """Carry out a request; the caller wipes the secrets in the request and the reply."""
        match request:
            case Describe():
                return self.opened
            case Check():
                return self._check(request)
            case Make(base=base):
                kek = keks.newest(self._session, base, 1, self._wrapping)
                if kek is None:
                    keks.make(self._session, base, self._wrapping)
                return Made(created=kek is None)
            case Wrap():
                return self._wrap(request.dek, request.context, request.base, 1, request.create)
            case Unwrap(sealed=sealed, context=context):
                return Unwrapped(self._unwrap(sealed, context))
            case Rewrap():
                return self._rewrap(request)
            case Destroy():
                return self._destroy(request)
            case Open():
                raise TokenError("setup", "the token was opened already")

    def _check(self, request: Check) -> Checked:
        kek = keks.newest(self._session, request.base, 1, self._wrapping)
        if kek is not None:
            keks.check(kek, self._wrapping)
            wrapping.wrap(self._wrapping, kek, bytes(DEK_SIZE), b"")
        elif request.required:
            raise _missing(request.base)
        return Checked()

    def _wrap(
        self, dek: bytes | bytearray, context: bytes, base: str, first: int, create: bool
    ) -> Sealed:
        kek = keks.newest(self._session, base, first, self._wrapping)
        if kek is None:
            label = keks.label(base, first)
            if not create:
                raise _missing(label)
            kek = keks.make(self._session, label, self._wrapping)
        keks.check(kek, self._wrapping)
        wrapped = wrapping.wrap(self._wrapping, kek, dek, context)
        return Sealed(keks.name_of(kek), self._wrapping.algorithm, wrapped)

    def _unwrap(self, sealed: Sealed, context: bytes) -> bytearray:
        way = wrapping.by_algorithm(sealed.algorithm)
        kek = keks.find(self._session, sealed.kek, way)
        return wrapping.unwrap(way, kek, sealed.wrapped, context)

    def _rewrap(self, request: Rewrap) -> Sealed:
        dek = self._unwrap(request.sealed, request.context)
        try:
            return self._wrap(dek, request.context, request.base, request.first, request.create)
        finally:
            wipe(dek)

    def _destroy(self, request: Destroy) -> Destroyed:
        keks.destroy(self._session, request.base, request.known)
        # A key whose label has changed is not destroyed: nothing authenticates the id in a slot.
        others = keks.labelled(self._session, None, request.kek.id) if request.kek.id else []
        return Destroyed(others[0][Attribute.LABEL] if others else "")


def open_token(order: Open) -> OpenToken:
    """Load the module, which stays loaded, find the token and log in. Raises TokenError."""
    try:
        library = pkcs11.lib(order.module)
    except PKCS11Error as error:
        raise TokenError("setup", f"it cannot be loaded: {error or type(error).__name__}") from None
    token = _find(library.get_slots(token_present=True), order)
    way = wrapping.choose(token.slot, order.mechanisms)
    session = _log_in(token, order)
    opened = Opened(
        library=f"{library.manufacturer_id} {library.library_description}".strip(),
        token=token.label,
        serial=_serial(token),
        model=f"{token.manufacturer_id} {token.model}".strip(),
        algorithm=way.algorithm,
    )
    return OpenToken(session, opened, way)


def _log_in(token: Token, order: Open) -> Session:
    flags = token.flags
    if TokenFlag.USER_PIN_LOCKED in flags:
        raise TokenError("setup", "the PIN is locked: unlock it as the token's security officer")
    if TokenFlag.USER_PIN_FINAL_TRY in flags:
        raise TokenError(
            "setup",
            "one more wrong PIN would lock the token: log in to it by hand, which sets its counter "
            "back, or change the PIN as its security officer",
        )
    try:
        return token.open(rw=True, user_pin=order.pin.decode())
    except UserAlreadyLoggedIn:  # some modules share one login among all their processes
        return token.open(rw=True)


def _find(slots: list[Slot], order: Open) -> Token:
    tokens = list(_tokens(slots))
    found = [
        token
        for token in tokens
        if token.label == order.token and order.serial in ("", _serial(token))
    ]
    wanted = f"token {order.token}" + (
        f" with serial number {order.serial}" if order.serial else ""
    )
    if not found:
        seen = ", ".join(sorted({token.label for token in tokens if token.label})) or "none"
        raise TokenError("device", f"there is no {wanted}; present: {seen}")
    if len(found) > 1:
        serials = ", ".join(sorted(map(_serial, found)))
        raise TokenError(
            "setup", f"there are several tokens {order.token}, serial numbers: {serials}"
        )
    return found[0]


def _tokens(slots: list[Slot]) -> Iterator[Token]:
    for slot in slots:
        try:
            yield slot.get_token()
        except (TokenNotPresent, TokenNotRecognised):
            continue


def _serial(token: Token) -> str:
    return token.serial.decode("ascii", "replace").rstrip("\0")


def _missing(label: str) -> TokenError:
    return TokenError("missing", f"there is no key {label} in the token, and create is false")
