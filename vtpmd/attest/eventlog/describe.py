"""One event in a few words, for people. The words are the log's own, covered or not."""

from typing import Final

from ..errors import MalformedError
from .log import Event
from .types import EV
from .variables import parse_variable

_VARIABLES: Final = frozenset(
    {
        EV.EFI_VARIABLE_DRIVER_CONFIG,
        EV.EFI_VARIABLE_BOOT,
        EV.EFI_VARIABLE_BOOT2,
        EV.EFI_VARIABLE_AUTHORITY,
    }
)
_TAG_HEAD: Final = 8
"""Octets of the tag and its size (PFP 10.4.2.1)."""

_MAX_TEXT: Final = 120
_MAX_OCTETS: Final = 24


def describe(event: Event) -> str:
    """The name of a variable, a text, or how the data begin."""
    if event.type in _VARIABLES:
        try:
            variable = parse_variable(event.data)
        except MalformedError:
            return _begins(event.data)
        return f"{variable.name} ({len(variable.value)} octets)"
    if event.type == EV.EVENT_TAG and (tagged := _text(event.data[_TAG_HEAD:])):
        return tagged
    return _text(event.data) or _begins(event.data)


def _text(data: bytes) -> str | None:
    """The text that the data are, in ASCII or UTF-16, if they are one."""
    head = data[: 2 * _MAX_TEXT + 2]
    narrow = head[::2] if len(head) >= 4 and not any(head[1::2]) else head
    shown = narrow.rstrip(b"\0")
    if not shown or not all(0x20 <= octet < 0x7F for octet in shown):
        return None
    return shown[:_MAX_TEXT].decode("ascii") + (" …" if len(shown) > _MAX_TEXT else "")


def _begins(data: bytes) -> str:
    return data[:_MAX_OCTETS].hex() + (" …" if len(data) > _MAX_OCTETS else "")
