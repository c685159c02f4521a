"""Options of swtpm's kind: `--option word,word=value,…`, checked against a table per option."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final


class UsageError(Exception):
    """The command line asks for something that cannot be; the text says what and why."""


Converter = Callable[[str], object]
FLAG: Final = None
"""In place of a converter: the word stands alone, or has one of `_BOOLEANS` as its value."""
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def split(option: str, text: str, known: Mapping[str, Converter | None]) -> dict[str, object]:
    """The words of `text` with their values; True for a word that stands alone.

    One that is `=false` is as if it was not there. Raises UsageError for what is not `known`,
    or lacks its value.
    """
    found: dict[str, object] = {}
    for part in text.split(","):
        word, equals, value = part.partition("=")
        if word not in known:
            raise UsageError(f"{option}: there is no {word!r}; known are {', '.join(known)}")
        convert = known[word]
        if convert and not equals:
            raise UsageError(f"{option}: {word} needs a value")
        try:
            found[word] = convert(value) if convert else not equals or _boolean(value)
        except ValueError as error:
            raise UsageError(f"{option}: {word}={value}: {error}") from None
    return {word: value for word, value in found.items() if known[word] or value}


def _boolean(value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise ValueError("true or false is needed")
    return _BOOLEANS[value.lower()]


def number(low: int, high: int) -> Converter:
    """A decimal number from `low` to `high`."""

    def convert(value: str) -> int:
        if not value.isdecimal() or not low <= int(value) <= high:
            raise ValueError(f"a number from {low} to {high} is needed")
        return int(value)

    return convert


def one_of(*choices: str) -> Converter:
    """One of these words."""

    def convert(value: str) -> str:
        if value not in choices:
            raise ValueError(f"known are {', '.join(choices)}")
        return value

    return convert


def octal(value: str) -> int:
    """The mode of a file, such as 0600."""
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("an octal mode such as 0600 is needed")
    return mode


def text(value: str) -> str:
    """Anything but nothing."""
    if not value:
        raise ValueError("it is empty")
    return value


def path(value: str) -> Path:
    """A path, made absolute: the working directory may change."""
    return Path(os.path.abspath(text(value)))  # noqa: PTH100 (links stay what they are)
