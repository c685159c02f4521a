"""What is wrong with a setting, in the words of the configuration and not in those of pydantic."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vtpmd.kms import registry
from vtpmd.kms.settings import Section

from .document import KeyPath
from .files import sections_in

PROVIDERS: Final = "key_providers"
_CLOSE: Final = 0.6


def reason(root: type[Section], content: object, path: KeyPath, detail: Mapping[str, Any]) -> str:
    """What is wrong at `path` of the file's content, which `root` refuses for this `detail`."""
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(str(path[-1]), known(root, content, path[:-1]))
        case "missing":
            return "is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return "settings are expected here, NAME: VALUE, each on a line of its own"
    text: str = detail["msg"]
    return text.removeprefix("Value error, ").replace("Input should be", "must be")


def _unknown(name: str, settings: set[str]) -> str:
    close = difflib.get_close_matches(name, settings, 1, _CLOSE)
    if close:
        return f"unknown setting {name}; did you mean {close[0]}?"
    listed = f"; known are {', '.join(sorted(settings))}" if settings else ""
    return f"unknown setting {name}{listed}"


def known(root: type[Section], content: object, path: KeyPath) -> set[str]:
    """The settings that may stand at this path."""
    sections = [root]
    for part in path:
        content = _part(content, part)
        if isinstance(part, int):
            sections = list(_provider(content))
        else:
            fields = [each.model_fields[part] for each in sections if part in each.model_fields]
            sections = [found for field in fields for found in sections_in(field.annotation)]
    return {name for section in sections for name in section.model_fields}


def _part(content: object, part: str | int) -> object:
    try:
        return content[part]  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        return None


def _provider(entry: object) -> Iterator[type[Section]]:
    """The settings of an entry of `key_providers`, if its type is known."""
    try:
        yield registry.settings_of(entry)
    except ValueError:
        return
