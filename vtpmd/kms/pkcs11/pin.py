"""The PIN of a token, from a file. A wrong PIN is not tried twice, lest the token be locked."""

import hashlib
import hmac
import secrets
from pathlib import Path

from vtpmd.storage.errors import StorageError
from vtpmd.storage.wipe import wipe

from ..errors import KeyUnavailableError
from ..secret_file import is_credential, read_secret

MAX_PIN = 255


class PinFile:
    """The only line of the file `path`, which may be a credential of the service.

    Of a refused PIN, only a digest under a key of this process is kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._key = secrets.token_bytes(32)
        self._refused = b""

    def read(self) -> bytearray:
        """The PIN, for the caller to wipe; reads a file. Raises KeyUnavailableError."""
        try:
            content = read_secret(self.path, MAX_PIN + 2, is_credential(self.path))
        except StorageError as error:
            raise KeyUnavailableError(str(error), retry=error.kind == "missing") from None
        pin = bytearray(content.removesuffix(b"\n").removesuffix(b"\r"))
        if not 0 < len(pin) <= MAX_PIN or not _printable(pin):
            wipe(pin)
            raise KeyUnavailableError(f"{self.path} does not hold one line with a PIN", retry=False)
        if hmac.compare_digest(self._digest(pin), self._refused):
            wipe(pin)
            raise KeyUnavailableError(
                f"the token refused the PIN in {self.path}, which is not tried again lest the "
                "token is locked: put the right one there, or restart vtpmd if it is right now",
                retry=False,
            )
        return pin

    def refuse(self, pin: bytearray) -> None:
        """Never return this PIN again."""
        self._refused = self._digest(pin)

    def _digest(self, pin: bytearray) -> bytes:
        return hashlib.blake2b(pin, key=self._key).digest()


def _printable(pin: bytearray) -> bool:
    try:
        return pin.decode().isprintable()
    except UnicodeDecodeError:
        return False
