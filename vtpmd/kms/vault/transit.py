"""The Transit secrets engine: keys that encrypt and never leave the server."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from vtpmd.storage.envelope import DEK_SIZE

from ..errors import KeyUnavailableError, NotOpenedError
from .server import RequestRefusedError
from .session import Session

Binding = Literal["associated_data", "context"]
"""The parameter that binds a ciphertext to an instance. A derived key requires a `context`, with
which the server can rewrap by itself; it cannot rewrap with `associated_data`."""

KEY_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?"
"""What a key may be called, as a regular expression."""

_AEAD_KEYS = ("aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305")
_CIPHERTEXT = re.compile(rb"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})")
_KEY, _ENCRYPT, _DECRYPT = "keys/{}", "encrypt/{}", "decrypt/{}"

# Most refusals have the same status; only their texts differ.
_NO_ENGINE = "no handler for route"
_NOT_OPENED = ("authentication failed", "invalid ciphertext length", "unable to decrypt")
_MEANINGS = (
    ("too old", "which no longer opens this version: lower its min_decryption_version"),
    ("version is too new", "which does not have this version: was an older backup restored?"),
    ("key not found", "which does not exist: it was deleted, or never made"),
)


@dataclass(frozen=True)
class TransitKey:
    """A key that can wrap, with version `latest`, and unwrap, with versions from `oldest` on."""

    name: str
    binding: Binding
    latest: int
    oldest: int


@dataclass(frozen=True)
class Ciphertext:
    """A ciphertext: `text` is the server's notation, `version` the version of the key."""

    text: bytes = field(repr=False)
    version: str

    @classmethod
    def parse(cls, text: bytes) -> "Ciphertext":
        """Raises NotOpenedError for a text that no server writes."""
        found = _CIPHERTEXT.fullmatch(text)
        if found is None or _canonical(found[2]) != found[2]:
            raise NotOpenedError
        return cls(text, found[1].decode())


class Transit:
    """The engine mounted at `mount`. All methods raise KeyUnavailableError."""

    def __init__(self, session: Session, mount: str) -> None:
        self._session = session
        self._mount = mount

    async def find(self, name: str) -> TransitKey | None:
        """The key of this name, if there is one."""
        try:
            answer = await self._session.ask("GET", self._path(_KEY, name))
        except RequestRefusedError as error:
            if error.status == 404 and _NO_ENGINE not in error.words:
                return None
            raise self._explained(error, "read", name) from None
        return self._key(name, answer.get("data"))

    async def create(self, name: str) -> None:
        """Make a derived key, unless there is one of this name."""
        await self._ask("create", _KEY, name, {"type": "aes256-gcm96", "derived": True})

    async def rotate(self, name: str) -> None:
        """Add a version to a key, which wraps from now on."""
        await self._ask("rotate", f"{_KEY}/rotate", name, {})

    async def delete(self, name: str) -> None:
        """Destroy all versions of a key permanently."""
        await self._ask("delete", f"{_KEY}/config", name, {"deletion_allowed": True})
        await self._ask("delete", _KEY, name, None, method="DELETE")

    async def encrypt(
        self, key: TransitKey, plaintext: bytes | bytearray, bound_to: bytes
    ) -> Ciphertext:
        """Encrypt under the latest version."""
        body = {"plaintext": _base64(plaintext), key.binding: _base64(bound_to)}
        return self._ciphertext(await self._ask("encrypt with", _ENCRYPT, key.name, body))

    async def decrypt(
        self, name: str, ciphertext: Ciphertext, binding: Binding, bound_to: bytes
    ) -> bytearray:
        """Return the DEK, which the caller wipes. Raises NotOpenedError."""
        body = {"ciphertext": ciphertext.text.decode(), binding: _base64(bound_to)}
        answer = await self._ask("decrypt with", _DECRYPT, name, body)
        try:
            plaintext = bytearray(base64.b64decode(answer["plaintext"], validate=True))
        except (KeyError, TypeError, ValueError):
            raise self._nonsense("there is no plaintext in it") from None
        if len(plaintext) != DEK_SIZE:
            raise self._nonsense(f"it gives {len(plaintext)} octets of plaintext, not {DEK_SIZE}")
        return plaintext

    async def rewrap(self, name: str, ciphertext: Ciphertext, context: bytes) -> Ciphertext:
        """Encrypt the same DEK under the latest version of a derived key. Raises NotOpenedError."""
        body = {"ciphertext": ciphertext.text.decode(), "context": _base64(context)}
        return self._ciphertext(await self._ask("rewrap with", "rewrap/{}", name, body))

    async def check_permitted(self, name: str) -> None:
        """Raise KeyUnavailableError unless our token may make and use a key of this name."""
        paths = [self._path(operation, name) for operation in (_KEY, _ENCRYPT, _DECRYPT)]
        try:
            answer = await self._session.ask("POST", "sys/capabilities-self", {"paths": paths})
        except RequestRefusedError as error:
            raise self._explained(error, "ask for our rights to", name) from None
        for path in paths:
            granted = answer.get(path)
            if not isinstance(granted, list) or {"root", "update"}.isdisjoint(granted):
                raise self._unavailable(
                    f"does not permit us to POST to {path}: see to the policy of our token"
                )

    async def _ask(
        self,
        verb: str,
        operation: str,
        name: str,
        body: dict[str, Any] | None,
        method: str = "POST",
    ) -> dict[str, Any]:
        """The `data` of an answer, which may be empty.

        Raises NotOpenedError if there is a ciphertext in `body`.
        """
        try:
            answer = await self._session.ask(method, self._path(operation, name), body)
        except RequestRefusedError as error:
            opening = body is not None and "ciphertext" in body
            if opening and any(words in error.words for words in _NOT_OPENED):
                raise NotOpenedError from None
            raise self._explained(error, verb, name) from None
        data = answer.get("data", {})
        if not isinstance(data, dict):
            raise self._nonsense("its data are no object")
        return data

    def _path(self, operation: str, name: str) -> str:
        return f"{self._mount}/{operation.format(name)}"

    def _key(self, name: str, facts: object) -> TransitKey:
        match facts:
            case {
                "type": str(kind),
                "derived": bool(derived),
                "latest_version": int(latest),
                "min_decryption_version": int(oldest),
            }:
                pass
            case _:
                raise self._nonsense("it does not describe a key")
        if kind not in _AEAD_KEYS:
            raise self._unavailable(
                f"has in {self._mount} a key {name} of type {kind}, which cannot be bound to "
                f"instances: take one of {', '.join(_AEAD_KEYS)}"
            )
        return TransitKey(name, "context" if derived else "associated_data", latest, oldest)

    def _ciphertext(self, answer: dict[str, Any]) -> Ciphertext:
        try:
            return Ciphertext.parse(answer["ciphertext"].encode())
        except (KeyError, AttributeError, UnicodeEncodeError, NotOpenedError):
            raise self._nonsense("there is no ciphertext in it") from None

    def _explained(self, error: RequestRefusedError, verb: str, name: str) -> KeyUnavailableError:
        if error.status == 403:
            return self._unavailable(
                f"does not permit us to {verb} key {name} in {self._mount}: "
                "see to the policy of our token"
            )
        if _NO_ENGINE in error.words:
            return self._unavailable(f"has no secrets engine at {self._mount}")
        for words, meaning in _MEANINGS:
            if words in error.words:
                return self._unavailable(f"cannot {verb} key {name} in {self._mount}, {meaning}")
        return self._unavailable(f"does not {verb} key {name} in {self._mount}: {error}")

    def _nonsense(self, why: str) -> KeyUnavailableError:
        return self._unavailable(f"gave no valid answer: {why}")

    def _unavailable(self, what: str) -> KeyUnavailableError:
        return KeyUnavailableError(f"the Vault server {self._session.url} {what}", retry=False)


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


def _canonical(text: bytes) -> bytes | None:
    """The only valid base64 encoding of what `text` stands for; others count as damaged."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True))
    except binascii.Error:
        return None
