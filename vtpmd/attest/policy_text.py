"""How policies are written, as the content of a YAML or JSON document.

    version: 1
    pcrs: {7: ["<hex>", …], 4: ["<hex>"]}
    secure_boot: {enabled: true, db_certs: ["<sha256>"], dbx_contains: ["<sha256>"]}
    boot_apps: ["<digest>"]
    cmdline: "<regular expression>"      as RE2 has them: without backreferences and lookaround
    firmware_version: ["<text>"]
    tpm_firmware_version: ["0x<hex>"]

Every part may be absent; anything else is refused, since a rule that is not understood would not
be judged.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from vtpmd.tpm.wire.constants import DIGEST_SIZES
from vtpmd.tpm.wire.limits import IMPLEMENTATION_PCR

from .errors import MalformedError
from .pattern import Pattern
from .policy import Policy

VERSION: Final = 1
MAX_SIZE: Final = 128 * 1024
_DIGEST_SIZES: Final = frozenset(DIGEST_SIZES.values()) - {0}
_SHA256_SIZE: Final = frozenset({32})


def parse_policy(content: object) -> Policy:
    """The policy that a document says. Raises MalformedError, which says where it is wrong."""
    top = _mapping("the policy", content, {"version", *_PARSERS, "secure_boot"})
    if top.pop("version", VERSION) != VERSION:
        raise MalformedError("a policy of another version")
    boot = _mapping("secure_boot", top.pop("secure_boot", {}), set(_SECURE_BOOT))
    parsed: dict[str, Any] = {
        field: parse(f"secure_boot.{name}", boot[name])
        for name, (field, parse) in _SECURE_BOOT.items()
        if name in boot
    }
    parsed |= {name: _PARSERS[name](name, value) for name, value in top.items()}
    if not any(value != {} for value in parsed.values()):
        raise MalformedError("a policy without any rule")
    return Policy(**{"pcrs": {}, **parsed})


def _mapping(where: str, content: object, known: set[str]) -> dict[Any, Any]:
    if not isinstance(content, Mapping):
        raise MalformedError(f"{where} is no mapping")
    if unknown := [key for key in content if key not in known]:
        raise MalformedError(f"{where} has {unknown[0]!a}, which is not known here")
    return dict(content)


def _list(where: str, content: object) -> list[str]:
    if not isinstance(content, list) or not all(isinstance(each, str) for each in content):
        raise MalformedError(f"{where} is no list of texts; digests want quotation marks")
    if not content:
        raise MalformedError(f"{where} is empty, so that nothing could keep it")
    return content


def _digests(sizes: frozenset[int]) -> Callable[[str, object], frozenset[bytes]]:
    def parse(where: str, content: object) -> frozenset[bytes]:
        try:
            found = frozenset(map(bytes.fromhex, _list(where, content)))
        except MalformedError:
            raise
        except ValueError:
            raise MalformedError(f"{where} has something that is not hexadecimal") from None
        if not sizes.issuperset(map(len, found)):
            raise MalformedError(f"{where} has a digest of an impossible size")
        return found

    return parse


def _pcrs(where: str, content: object) -> dict[int, frozenset[bytes]]:
    known = set(range(IMPLEMENTATION_PCR))
    if isinstance(content, Mapping):  # JSON has texts for keys
        keys = [_index(key) for key in content]
        if len(set(keys)) != len(keys):
            raise MalformedError(f"{where} has one PCR twice")
        content = dict(zip(keys, content.values(), strict=True))
    found = _mapping(where, content, known)  # type: ignore[arg-type]
    parse = _digests(_DIGEST_SIZES)
    return {index: parse(f"{where}.{index}", value) for index, value in found.items()}


def _index(key: object) -> object:
    return int(key) if isinstance(key, str) and re.fullmatch("[0-9]{1,2}", key) else key


def _flag(where: str, content: object) -> bool:
    if not isinstance(content, bool):
        raise MalformedError(f"{where} is neither true nor false")
    return content


def _pattern(where: str, content: object) -> Pattern:
    if not isinstance(content, str):
        raise MalformedError(f"{where} is no regular expression")
    try:
        return Pattern.parse(content)
    except MalformedError as error:
        raise MalformedError(f"{where} {error}") from None


def _texts(where: str, content: object) -> frozenset[str]:
    return frozenset(_list(where, content))


def _versions(where: str, content: object) -> frozenset[int]:
    texts = _list(where, content)
    if not all(re.fullmatch("0x[0-9a-fA-F]{1,16}", text) for text in texts):
        raise MalformedError(f"{where} has something that is not 0x and hexadecimal")
    return frozenset(int(text, 16) for text in texts)


_PARSERS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "pcrs": _pcrs,
    "boot_apps": _digests(_DIGEST_SIZES),
    "cmdline": _pattern,
    "firmware_version": _texts,
    "tpm_firmware_version": _versions,
}
_SECURE_BOOT: Final[Mapping[str, tuple[str, Callable[[str, object], object]]]] = {
    "enabled": ("secure_boot", _flag),
    "db_certs": ("db_certs", _digests(_SHA256_SIZE)),
    "dbx_contains": ("dbx_contains", _digests(_SHA256_SIZE)),
}
