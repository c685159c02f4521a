"""Dataclasses as CBOR arrays, written and read by code that is generated from their annotations.

A dataclass is the array of its fields' values in order of declaration; a Part 2 structure is its
marshalled form, and what has `save` and `restore` is what these make and take. A *schema* says
which fields those were: it maps the name of each dataclass to those of its fields. What is read
follows the schema it was written with, field by field: one that is missing takes its default, an
unknown one is refused (a newer version wrote it), and so is a value of another type.

A structure that never changes can be declared with the metadata `kept`, which names the field that
keeps its octets. A dataclass whose values are replaced, and never changed, can keep its encoding in
a field with the metadata `encoded`, until one of them is another. Such a field is not used while
one is there that does change.

To change a dataclass: add a field with a default, or list one that is gone in `RETIRED`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vtpmd.encoding import cbor

from .profile import Profile
from .rc import EngineError, TpmError
from .wire.codec import Source
from .wire.objects import TPMT_PUBLIC, TPMT_PUBLIC_LOADED
from .wire.structure import Reader, Structure
from .wire.structure import reader as structure_reader

Schema = Mapping[str, Sequence[str]]

RETIRED: dict[str, frozenset[str]] = {}
"""Fields of older schemas that are no longer needed, by their dataclass."""

_LAYOUTS: dict[Any, Any] = {TPMT_PUBLIC: TPMT_PUBLIC_LOADED}
"""Structures whose values in a state include some that a guest can't send."""
_SIMPLE = (int, bool, str, bytes)
"""What CBOR has a type for."""
_TRUE, _FALSE, _NULL = map(cbor.encode, (True, False, None))
_HELPERS = {
    "small": cbor.INTEGERS,
    "integer": cbor.encode_integer,
    "head": cbor.head,
    "octets": cbor.encode_octets,
    "text": cbor.encode_text,
    "array_of": cbor.array_of,
    "map_of": cbor.map_of,
}
"""What generated writers call."""
_SCHEMAS = 8
"""How many schemas' readers are kept: this version's, and those of states from older ones."""


class StateError(EngineError):
    """A state that can't be used; `kind` is "damaged" or "newer"."""

    def __init__(self, kind: Literal["damaged", "newer"], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def damaged(where: str) -> StateError:
    """The StateError for a state in which the value at `where` can't be one."""
    return StateError("damaged", f"the state's {where} is not what it should be")


@cache
def schema_of(cls: type) -> bytes:
    """The encoded schema of a dataclass and those in it, as this version writes it."""
    return cbor.encode({found.__name__: list(_stored_fields(found)) for found in _reachable(cls)})


def field_names(cls: type) -> frozenset[str]:
    """The fields of a dataclass and of those in it, as this version writes them: `Class.field`."""
    return frozenset(
        f"{found.__name__}.{name}" for found in _reachable(cls) for name in _stored_fields(found)
    )


def retired_names() -> frozenset[str]:
    """Fields that are read and no longer written, likewise."""
    return frozenset(f"{name}.{field}" for name, gone in RETIRED.items() for field in gone)


@cache
def writer(cls: type) -> Callable[[Any], bytes]:
    """A function that encodes a dataclass, as `reader` of `schema_of` reads it once decoded."""
    out = Source(f"written {cls.__name__}")
    keep = out.constant("keep", _keep)
    for name, helper in _HELPERS.items():
        out.define(name, helper)
    for found in _reachable(cls):
        stored = _stored_fields(found)
        with out.block(f"def {_writer_name(found)}(whole):"):
            values = (_written_field(hint, item, keep) for hint, item in stored.values())
            parts = (repr(cbor.array_head(len(stored))), *values)
            encoding = f"b''.join(({', '.join(parts)},))"
            if (kept := _encoding_field(found)) is None:
                out.line(f"return {encoding}")
                continue
            for name in _changing(found):
                with out.block(f"if whole.{name} is not None:"):
                    out.line(f"return {encoding}")
            out.line(f"values = ({''.join(f'whole.{name}, ' for name in stored)})")
            out.line(f"kept = whole.{kept}")
            with out.block("if kept is None or kept[0] != values:"):
                out.line(f"kept = whole.{kept} = values, {encoding}")
            out.line("return kept[1]")
    write: Callable[[Any], bytes] = out.compile()[_writer_name(cls)]
    return write


@lru_cache(_SCHEMAS)
def reader(cls: type, schema: bytes) -> Callable[[object, Profile], Any]:
    """A function that makes a dataclass of a decoded array. Both raise StateError."""
    try:
        known = _read_schema(cbor.decode(schema))
    except cbor.CborError:
        raise damaged("schema") from None
    out = Source(f"stored {cls.__name__}")
    emitter = _ReaderEmitter(out)
    for found in _reachable(cls):
        emitter.emit_dataclass(found, known)
    read: Callable[[object, Profile], Any] = out.compile()[_reader_name(cls)]
    return read


def _read_schema(plain: object) -> Schema:
    if not isinstance(plain, dict):
        raise damaged("schema")
    for names in plain.values():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise damaged("schema")
        if len(set(names)) != len(names):
            raise damaged("schema")
    return plain


@cache
def _stored_fields(cls: Any) -> dict[str, tuple[Any, Field[Any]]]:
    hints = get_type_hints(cls)
    return {
        item.name: (hints[item.name], item)
        for item in fields(cls)
        if not item.metadata.get("cache")
    }


def _encoding_field(cls: Any) -> str | None:
    """The field that keeps a dataclass' encoding, with the values that it is of; None without."""
    return next((item.name for item in fields(cls) if item.metadata.get("encoded")), None)


def _changing(cls: Any) -> list[str]:
    """The fields of such a dataclass whose values may change in place, where they are not None."""
    found = []
    for name, (hint, item) in _stored_fields(cls).items():
        if hint in _SIMPLE or "kept" in item.metadata:
            continue
        if _present(hint) not in _SIMPLE:
            found.append(name)
    return found


@cache
def _reachable(cls: type) -> tuple[type, ...]:
    """A dataclass and those in its fields, each once."""
    found: dict[type, None] = {}

    def visit(hint: Any) -> None:
        for part in get_args(hint):
            visit(part)
        if is_dataclass(hint) and hint not in found:
            assert isinstance(hint, type)
            found[hint] = None
            for inner, _ in _stored_fields(hint).values():
                visit(inner)

    visit(cls)
    return tuple(found)


def _writer_name(cls: Any) -> str:
    return f"write_{cls.__name__}"


def _reader_name(cls: Any) -> str:
    return f"read_{cls.__name__}"


def _present(hint: Any) -> Any:
    """What `T | None` is when it is not None."""
    (arm,) = [arm for arm in get_args(hint) if arm is not NoneType]
    return arm


def _written_field(hint: Any, item: Field[Any], keep: str) -> str:
    value, kept = f"whole.{item.name}", item.metadata.get("kept")
    if kept is None:
        return _written(hint, value, 0)
    octets = f"octets(whole.{kept} or {keep}(whole, {item.name!r}, {kept!r}))"
    return f"({_NULL!r} if {value} is None else {octets})"


def _keep(whole: Any, name: str, kept: str) -> bytes:
    octets: bytes = getattr(whole, name).marshal()
    setattr(whole, kept, octets)
    return octets


def _written(hint: Any, value: str, depth: int) -> str:
    """An expression of the encoding of the expression `value`."""
    origin, item, key = get_origin(hint), f"item_{depth}", f"key_{depth}"
    if hint is bool:
        return f"({_TRUE!r} if {value} else {_FALSE!r})"
    if hint is int:
        return f"(small[{value}] if 0 <= {value} < {len(cbor.INTEGERS)} else integer({value}))"
    if hint is bytes:
        return f"octets({value})"
    if hint is str:
        return f"text({value})"
    if origin is UnionType:
        return f"({_NULL!r} if {value} is None else {_written(_present(hint), value, depth)})"
    if origin is list:
        inner = _written(get_args(hint)[0], item, depth + 1)
        return f"array_of(*[{inner} for {item} in {value}])"
    if origin is dict:
        # Keys are not negative: their order is that of their encodings, too.
        inner = _written(get_args(hint)[1], item, depth + 1)
        entries = f"head(0, {key}) + {inner} for {key}, {item} in sorted({value}.items())"
        return f"map_of(*[{entries}])"
    if issubclass(hint, Structure):
        return f"octets({value}.marshal())"
    if is_dataclass(hint):
        return f"{_writer_name(hint)}({value})"
    return f"octets({value}.save())"


class _ReaderEmitter:
    """Emits readers, which change what was decoded in place to the values of a state."""

    def __init__(self, out: Source) -> None:
        self._out = out
        self._damaged = out.constant("damaged", damaged)

    def emit_dataclass(self, cls: type, schema: Schema) -> None:
        """Emit the reader of a dataclass whose fields were those that `schema` says."""
        out, called, stored = self._out, cls.__name__, _stored_fields(cls)
        names = schema.get(called)
        if names is None:  # a dataclass that is newer than the state, in which there is none
            with out.block(f"def {_reader_name(cls)}(plain, profile):"):
                out.line(f"raise {self._damaged}({called!r})")
            return
        unknown = set(names) - set(stored) - RETIRED.get(called, frozenset())
        if unknown:
            raise StateError(
                "newer", f"the state's {called} holds unknown fields: {sorted(unknown)}"
            )
        for name, (_, item) in stored.items():
            if name not in names and item.default is item.default_factory is MISSING:
                raise damaged(f"{called}.{name}")
        with out.block(f"def {_reader_name(cls)}(plain, profile):"):
            self._refuse(f"type(plain) is not list or len(plain) != {len(names)}", called)
            if names:
                parts = (f"v_{name}" if name in stored else "_" for name in names)
                out.line(f"{', '.join(parts)}, = plain")
            values = []
            for name in names:
                if name not in stored:
                    continue
                hint, item = stored[name]
                if kept := item.metadata.get("kept"):
                    out.line(f"v_{kept} = v_{name}")
                    values.append(f"{kept}=v_{kept}")
                self._emit_value(hint, f"v_{name}", f"{called}.{name}")
                values.append(f"{name}=v_{name}")
            out.line(f"return {out.constant(called, cls)}({', '.join(values)})")

    def _emit_value(self, hint: Any, var: str, where: str) -> None:
        out, origin, item, key = self._out, get_origin(hint), f"{var}_item", f"{var}_key"
        if origin is UnionType:
            with out.block(f"if {var} is not None:"):
                self._emit_value(_present(hint), var, where)
        elif hint in _SIMPLE:
            self._expect(hint.__name__, var, where)
        elif origin is list:
            self._expect("list", var, where)
            with out.block(f"for {key}, {item} in enumerate({var}):"):
                self._emit_item(get_args(hint)[0], f"{var}[{key}]", item, where)
        elif origin is dict:
            self._expect("dict", var, where)
            with out.block(f"for {key}, {item} in {var}.items():"):
                self._refuse(f"type({key}) is not int or {key} < 0", where)
                self._emit_item(get_args(hint)[1], f"{var}[{key}]", item, where)
        elif issubclass(hint, Structure):
            read = out.constant("read", structure_reader(_LAYOUTS.get(hint, hint)))
            out.line(f"{var} = {out.constant('parse', _parse)}({read}, {var}, profile, {where!r})")
        elif is_dataclass(hint):
            out.line(f"{var} = {_reader_name(hint)}({var}, profile)")
        else:
            restore = out.constant("restore", hint.restore)
            out.line(f"{var} = {out.constant('revive', _revive)}({restore}, {var}, {where!r})")

    def _emit_item(self, hint: Any, place: str, item: str, where: str) -> None:
        self._emit_value(hint, item, where)
        if hint not in _SIMPLE:
            self._out.line(f"{place} = {item}")

    def _expect(self, kind: str, var: str, where: str) -> None:
        self._refuse(f"type({var}) is not {kind}", where)

    def _refuse(self, condition: str, where: str) -> None:
        with self._out.block(f"if {condition}:"):
            self._out.line(f"raise {self._damaged}({where!r})")


def _parse(read: Reader, octets: object, profile: Profile, where: str) -> Any:
    if type(octets) is not bytes:
        raise damaged(where)
    try:
        value, end = read(octets, 0, profile)
    except TpmError:
        raise damaged(where) from None
    if end != len(octets):
        raise damaged(where)
    return value


def _revive(restore: Callable[[bytes], Any], octets: object, where: str) -> Any:
    if type(octets) is not bytes:
        raise damaged(where)
    try:
        return restore(octets)
    except ValueError:
        raise damaged(where) from None
