"""Options of swtpm's kind: `--option word,word=value,…`, checked against a table per option."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final


class UsageError(Exception):
    """The command line asks for something that cannot be; the text says what and why."""


Converter = Callable[[str], object]
FLAG: Final = None
"""In place of a converter: the word stands alone."""


def split(option: str, text: str, known: Mapping[str, Converter | None]) -> dict[str, object]:
    """The words of `text` with their values; True for a word that stands alone.

    Raises UsageError for what is not `known`, lacks its value or has one too many.
    """
    found: dict[str, object] = {}
    for part in text.split(","):
        word, equals, value = part.partition("=")
        if word not in known:
            raise UsageError(f"{option}: there is no {word!r}; known are {', '.join(known)}")
        convert = known[word]
        if (convert is None) is bool(equals):
            wrong = "needs a value" if convert else "takes no value"
            raise UsageError(f"{option}: {word} {wrong}")
        try:
            found[word] = True if convert is None else convert(value)
        except ValueError as error:
            raise UsageError(f"{option}: {word}={value}: {error}") from None
    return found


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
