"""Which files a configuration names that have to be there, found by the types of the settings."""

import typing
from collections.abc import Iterator
from pathlib import Path

from vtpmd.kms.settings import READ, Section

from .document import KeyPath


def read_files(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Path]]:
    """The place of each such setting in the file, and what it names."""
    hints = typing.get_type_hints(type(section), include_extras=True)
    for name in type(section).model_fields:
        value, place = getattr(section, name), (*path, name)
        if isinstance(value, Path) and _is_read(hints[name]):
            yield place, value
        elif isinstance(value, Section):
            yield from read_files(value, place)
        elif isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, Section):
                    yield from read_files(each, (*place, number))


def named_in(
    content: object, settings: type[Section], path: KeyPath
) -> Iterator[tuple[KeyPath, Path]]:
    """The same of what is written for a section that is wrong elsewhere."""
    if not isinstance(content, dict):
        return
    hints = typing.get_type_hints(settings, include_extras=True)
    for name in settings.model_fields.keys() & content.keys():
        value, place = content[name], (*path, name)
        if isinstance(value, str) and _is_read(hints[name]):
            yield place, Path(value)
        for section in sections_in(hints[name]):
            yield from named_in(value, section, place)


def sections_in(annotation: object) -> Iterator[type[Section]]:
    """Every section in the type of a field, which may be a union."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in typing.get_args(annotation):
        yield from sections_in(part)


def _is_read(hint: object) -> bool:
    """Whether a type, or one of a union, is that of a file which is read."""
    marks = getattr(hint, "__metadata__", ())
    return READ in marks or any(map(_is_read, typing.get_args(hint)))


def fault(path: Path) -> str | None:
    """Why this process cannot read a file, None if it can."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None
