"""What requests and reports have in common; `schema` has the rules for both.

vtpmctl declares all of them whenever it starts, and uses two or three. So a declaration is nothing
but its fields; what a dataclass would have compiled for each class, their base does for all.
"""

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, NoReturn, dataclass_transform


class _Fields(NamedTuple):
    """Of a class: what is given to make one, what may be left out, what is no secret."""

    names: frozenset[str]
    defaults: dict[str, object]
    shown: tuple[str, ...]


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Declared:
    """Every class below is a frozen dataclass whose fields are given by name."""

    _known: ClassVar[_Fields]

    def __init_subclass__(cls) -> None:
        declared: Any = _declare(cls)
        given = [each for each in fields(declared) if each.init]
        cls._known = _Fields(
            frozenset(each.name for each in given),
            {each.name: each.default for each in given if each.default is not MISSING},
            tuple(each.name for each in given if each.repr),
        )

    def __init__(self, **values: Any) -> None:
        given = self.__dict__
        given.update(self._known.defaults)
        given.update(values)
        if given.keys() != self._known.names:
            wrong = ", ".join(sorted(given.keys() ^ self._known.names))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self._known.shown)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self._known.names)


_declare = dataclass(init=False, repr=False, eq=False, kw_only=True)


class Request(Declared):
    """Base of what clients ask for."""


class Report(Declared):
    """Base of what the daemon answers.

    `document`: all that a daemon has sent, fields included that are unknown here; empty in a
    report that was not received.
    """

    document: dict[str, object] = field(init=False, repr=False, compare=False)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.__dict__["document"] = {}
