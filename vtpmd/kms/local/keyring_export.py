"""A keyring encrypted under a passphrase, in a file that is kept away from this host.

Format version 1, deterministic CBOR: a map with `format` (1), `kind` ("vtpmd-keyring"), the
parameters of scrypt (RFC 7914) `n`, `r`, `p` and `salt`, `iv`, and `ciphertext`: the
encoded keyring under AES-256-GCM, with the same map without `ciphertext` as associated data.
"""

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from vtpmd.encoding import cbor

from ..errors import KmsError
from .keyring import Keyring, KeyringError, parse

FORMAT_VERSION = 1
MIN_PASSPHRASE = 12
MAX_EXPORT = 1 << 20
_KIND = "vtpmd-keyring"
_N, _R, _P = 1 << 17, 8, 1  # 128 MiB and a third of a second
_COSTS = [1 << bits for bits in range(10, 19)]  # accepted in a file
_SALT_SIZE, _IV_SIZE, _KEY_SIZE = 16, 12, 32
_HEADER = ["format", "kind", "n", "r", "p", "salt", "iv"]


class ExportError(KmsError):
    """The file or the passphrase is refused; the message says why."""


def export(keyring: Keyring, passphrase: str, n: int = _N) -> bytes:
    """Encrypt `keyring`; `n` is the cost parameter of scrypt. Raises ExportError."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise ExportError(f"the passphrase must have {MIN_PASSPHRASE} characters or more")
    header: dict[str, object] = {
        "format": FORMAT_VERSION,
        "kind": _KIND,
        "n": n,
        "r": _R,
        "p": _P,
        "salt": os.urandom(_SALT_SIZE),
        "iv": (iv := os.urandom(_IV_SIZE)),
    }
    key = AESGCM(_derive(passphrase, header))
    ciphertext = key.encrypt(iv, keyring.encode(), cbor.encode(header))
    return cbor.encode({**header, "ciphertext": ciphertext})


def import_(data: bytes, passphrase: str) -> Keyring:
    """Decrypt the keyring in a file. Raises ExportError."""
    if len(data) > MAX_EXPORT:
        raise ExportError(f"it has more than {MAX_EXPORT} octets")
    try:
        header, ciphertext = _read(cbor.decode(data))
    except cbor.CborError as error:
        raise ExportError(f"it is no backup of a keyring: {error}") from None
    try:
        key = AESGCM(_derive(passphrase, header))
        iv = cbor.octets(header["iv"])
        return parse(key.decrypt(iv, ciphertext, cbor.encode(dict(header))))
    except InvalidTag:
        raise ExportError("the passphrase is wrong, or the file is damaged") from None
    except KeyringError as error:
        raise ExportError(str(error)) from None


def _read(content: object) -> tuple[Mapping[str, object], bytes]:
    version = content.get("format") if isinstance(content, Mapping) else None
    if type(version) is int and version > FORMAT_VERSION:
        raise ExportError(f"it has format version {version}, made by a newer vtpmd")
    fields = cbor.mapping(content, [*_HEADER, "ciphertext"])
    if fields["format"] != FORMAT_VERSION or fields["kind"] != _KIND:
        raise cbor.malformed("it is of another kind")
    n, r, p = (cbor.uint(fields[name]) for name in ("n", "r", "p"))
    if n not in _COSTS or (r, p) != (_R, _P):
        raise cbor.malformed("its n, r or p is out of range")
    cbor.octets(fields["salt"], [_SALT_SIZE])
    cbor.octets(fields["iv"], [_IV_SIZE])
    return {name: fields[name] for name in _HEADER}, cbor.octets(fields["ciphertext"])


def _derive(passphrase: str, header: Mapping[str, object]) -> bytes:
    n, r, p = (cbor.uint(header[name]) for name in ("n", "r", "p"))
    salt = cbor.octets(header["salt"])
    return Scrypt(salt, _KEY_SIZE, n, r, p).derive(passphrase.encode())
