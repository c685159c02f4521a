"""Reads a YAML file into a Configuration, or reports all its problems at once."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vtpmd.kms import registry

from . import document
from .document import MAX_SIZE, KeyPath
from .files import named_in, read_files
from .schema import TWO_OF_A_NAME, Configuration
from .wording import PROVIDERS, reason


class ConfigurationError(document.DocumentError):
    """The configuration cannot be used."""


@dataclass
class Inspection:
    """A file that was read: the lines of its parts, and what is wrong with it.

    `configuration`: all that is usable of it, None if nothing is.
    """

    source: str
    configuration: Configuration | None = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    lost: dict[int, object] = field(default_factory=dict)
    """The key providers that are not usable, by their place."""

    def add(self, path: KeyPath, text: str) -> None:
        """Note what is wrong at a path, as far as that is in the file."""
        known = path
        while known and known not in self.lines:
            known = known[:-1]
        where = ".".join(map(str, path))
        fault = (self.lines.get(known, 1), f"{where}: {text}" if where else text)
        if fault not in self.faults:
            self.faults.append(fault)

    def files(self) -> Iterator[tuple[KeyPath, Path]]:
        """The files that have to be there: where each is named, and what it is."""
        if self.configuration is None:
            return
        entries = len(self.configuration.key_providers) + len(self.lost)
        kept = [at for at in range(entries) if at not in self.lost]
        for place, path in read_files(self.configuration):
            if place[0] == PROVIDERS:
                place = (PROVIDERS, kept[int(place[1])], *place[2:])
            yield place, path
        for at, entry in self.lost.items():
            with suppress(ValueError):
                yield from named_in(entry, registry.settings_of(entry), (PROVIDERS, at))

    @property
    def problems(self) -> list[str]:
        """What is wrong, in the order of the file."""
        return [f"{self.source}:{line}: {text}" for line, text in sorted(self.faults)]


def load(path: Path) -> Configuration:
    """Read and check `path`. Raises ConfigurationError with all problems and their lines."""
    return _usable(inspect(path))


def parse(text: bytes, source: str) -> Configuration:
    """Check the text of a configuration, named `source` in problems. Raises ConfigurationError."""
    return _usable(inspect_text(text, source))


def _usable(inspected: Inspection) -> Configuration:
    if inspected.configuration is None or inspected.faults:
        raise ConfigurationError(inspected.problems)
    return inspected.configuration


def inspect(path: Path) -> Inspection:
    """Read and check `path`. Raises ConfigurationError if it is no document at all."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    if len(text) > MAX_SIZE:
        raise ConfigurationError([f"{path}: larger than {MAX_SIZE} bytes"])
    return inspect_text(text, str(path))


def inspect_text(text: bytes, source: str) -> Inspection:
    """The same of the text of a file. Raises as `inspect`."""
    try:
        content, lines = document.read(text, source)
    except document.DocumentError as error:
        raise ConfigurationError(error.problems) from None
    content = {} if content is None else content
    inspected = Inspection(source, lines=lines)
    try:
        inspected.configuration = Configuration.model_validate(content)
    except ValidationError as error:
        wrong = _note(inspected, content, error)
        inspected.configuration = _rest(inspected, content, wrong)
    return inspected


def _note(inspected: Inspection, content: object, error: ValidationError) -> list[KeyPath]:
    """Note what an error says of the content; the paths of what is wrong."""
    paths = []
    for detail in error.errors(include_url=False, include_input=False):
        path = _as_written(inspected.lines, detail["loc"])
        paths.append(path)
        if not path and detail["type"] == "value_error":
            _note_consistency(inspected, detail["msg"])
        else:
            inspected.add(path, reason(Configuration, content, path, detail))
    return paths


def _note_consistency(inspected: Inspection, message: str) -> None:
    """Each line names the setting that does not go with the others."""
    for line in message.removeprefix("Value error, ").splitlines():
        setting, colon, text = line.partition(": ")
        inspected.add((setting,) if colon else (), text if colon else line)


def _rest(inspected: Inspection, content: Any, wrong: list[KeyPath]) -> Configuration | None:
    """What is left without the wrong parts; only whether that goes together is noted."""
    if not all(wrong) or not isinstance(content, dict):
        return None
    rest = copy.deepcopy(content)
    for at in {int(path[1]) for path in wrong if path[0] == PROVIDERS and len(path) > 1}:
        inspected.lost[at] = rest[PROVIDERS][at]  # a provider is whole or nothing
    for path in wrong:
        if path[0] != PROVIDERS or len(path) == 1:
            _remove(rest, path)
    _lose(inspected, rest)
    try:
        return Configuration.model_validate(rest)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            if not detail["loc"]:
                _note_consistency(inspected, detail["msg"])
        return None


def _lose(inspected: Inspection, rest: dict[Any, Any]) -> None:
    """Take out the providers that are not usable, and what may have named them."""
    if not inspected.lost:
        return
    written = [each.get("name") for each in rest[PROVIDERS] if isinstance(each, dict)]
    names = [name for name in written if isinstance(name, str)]
    if len(set(names)) != len(names):
        inspected.add((PROVIDERS,), TWO_OF_A_NAME)
    rest[PROVIDERS] = [each for at, each in enumerate(rest[PROVIDERS]) if at not in inspected.lost]
    for role in ("default_provider", "recovery_provider"):
        if any(_may_be_named(each, rest.get(role)) for each in inspected.lost.values()):
            rest.pop(role, None)


def _may_be_named(entry: object, name: object) -> bool:
    """Whether a provider that cannot be used may have this name; one without any may."""
    return not isinstance(entry, dict) or entry.get("name") in (None, name)


def _remove(content: Any, path: KeyPath) -> None:
    """Take the setting out that a path leads to, or the nearest above it."""
    for length in range(len(path), 0, -1):
        at = content
        try:
            for part in path[: length - 1]:
                at = at[part]
            del at[path[length - 1]]
            return
        except (KeyError, IndexError, TypeError):
            continue


def _as_written(lines: dict[KeyPath, int], location: KeyPath) -> KeyPath:
    """Leave out the branches of unions, which are in pydantic's locations but not in the file."""
    written: KeyPath = ()
    for part in location[:-1]:
        if (*written, part) in lines:
            written = (*written, part)
    return (*written, *location[-1:])
