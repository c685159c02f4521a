"""What a worker counts of its TPM's commands, and the words and bounds it counts under."""

from collections.abc import Mapping
from typing import Final

LATENCY_BOUNDS: Final = (50, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 250_000, 1_000_000)
"""Upper bounds of what is counted together, in microseconds; what took longer is counted last."""

_CLASSES: Final[Mapping[str, tuple[int, ...]]] = {
    "success": (0x000,),
    "failure": (0x101,),
    "lockout": (0x921,),
    "authorization": (0x08E, 0x09D, 0x0A2, 0x0A3, 0x0A4, 0x120, 0x124, 0x125, 0x126, 0x149),
    "resources": (0x14B, 0x902, 0x903, 0x904, 0x905, 0x906),
    "unavailable": (0x908, 0x909, 0x90A, 0x920, 0x922, 0x923),
}
OTHER: Final = "other"
RESPONSE_CLASSES: Final = (*_CLASSES, OTHER)
"""The classes of response codes: never more than these, whatever a guest does."""
_CLASS_OF: Final = {code: name for name, codes in _CLASSES.items() for code in codes}
_FORMAT_ONE, _WITHOUT_POSITION = 0x080, 0x0BF


def class_of(code: int) -> str:
    """The class of a response code."""
    return _CLASS_OF.get(code & _WITHOUT_POSITION if code & _FORMAT_ONE else code, OTHER)
