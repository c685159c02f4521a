"""One declaration per structure of Part 2; its codec is generated when it is first used.

A structure is written the way its table is, one annotated field per row:

    class TPMT_HA(Structure):
        hash_alg: TPMI_ALG_HASH
        digest: Annotated[bytes, Digest("hash_alg")]

Nothing is compiled at import: a guest uses perhaps sixty of the structures, and every process that
imports this package would pay for compiling all of them.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self, dataclass_transform

from ..rc import RC, TpmError
from .codec import (
    AllowedSets,
    Empty,
    Kind,
    Part,
    Reader,
    Source,
    Writer,
    kind_of,
    parse,
    reader,
    writer,
)
from .kinds import (
    Digest,
    ListOf,
    PcrSelect,
    Rest,
    Sized,
    SizedStructure,
    UInt,
    Union,
)

__all__ = [
    "AllowedSets",
    "Digest",
    "Empty",
    "Kind",
    "ListOf",
    "Nested",
    "PcrSelect",
    "Reader",
    "Rest",
    "Sized",
    "SizedStructure",
    "Structure",
    "UInt",
    "Union",
    "Writer",
    "kind_of",
    "parse",
    "reader",
    "writer",
]


class Nested(Kind):
    """A structure as a field of another one.

    `relaxed` gives some of its fields another hint for reading: the tables mark such a use with a
    plus sign, usually because a selector may then be ALG.NULL. The class of the value and the way
    it is written are the same.
    """

    def __init__(self, of: "type[Structure]", **relaxed: Any) -> None:
        self.of = of
        self.relaxed = {field: kind_of(hint) for field, hint in relaxed.items()}

    @property
    def _has_union(self) -> bool:
        """Whether it needs code of its own; any other structure is a part of the code around it."""
        return any(isinstance(kind, Union) for _, kind in self.of.__wire__)

    @cached_property
    def reader(self) -> Reader:
        return self.of.compiled_reader(self.relaxed)

    @cached_property
    def writer(self) -> Writer:
        return self.of.compiled_writer()

    def emit_read(self, out: Source, var: str) -> None:
        if self._has_union:
            read = out.constant("read", self.reader)
            out.line(f"{var}, offset = {read}(buffer, offset, profile)")
            return
        values = out.read_fields(f"{var}__", {**dict(self.of.__wire__), **self.relaxed})
        out.line(f"{var} = {out.constant(self.of.__name__, self.of)}({values})")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        if self._has_union:
            return (f"{out.constant('write', self.writer)}({value})",)
        parts = (kind.emit_write(out, f"{value}.{field}") for field, kind in self.of.__wire__)
        return tuple(chain.from_iterable(parts))


class _StructureMeta(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        # Structure itself declares no fields, only what concerns all of them.
        hints = namespace.get("__annotations__", {}) if bases else {}
        namespace["__slots__"] = tuple(hints)
        namespace["__wire__"] = tuple((field, kind_of(hint)) for field, hint in hints.items())
        cls: Any = super().__new__(mcs, name, bases, namespace)
        cls.__kind__ = Nested(cls)
        return cls  # type: ignore[no-any-return]


@dataclass_transform()
class Structure(metaclass=_StructureMeta):
    """A mutable record with the fields of a table of Part 2, positional or by keyword.

    The methods here stand in for the generated ones, which replace them in the subclass the first
    time one is called.
    """

    __wire__: ClassVar[tuple[tuple[str, Kind], ...]]
    """The fields in order, with their kinds."""

    __kind__: ClassVar[Kind]
    """How a value of this structure is laid out inside another one."""

    def __init__(self, *values: Any, **named: Any) -> None:
        self._compile()
        type(self).__init__(self, *values, **named)

    @classmethod
    def unmarshal(cls, buffer: bytes, offset: int, profile: AllowedSets) -> tuple[Self, int]:
        """Read the structure at `offset`; returns it and the offset just past it.

        Raises:
            TpmError: the octets are not such a structure, or one this profile does not allow.
        """
        cls._compile()
        return cls.unmarshal(buffer, offset, profile)

    def marshal(self) -> bytes:
        """The octets of this structure."""
        self._compile()
        return self.marshal()

    @classmethod
    def parse(cls, buffer: bytes, profile: AllowedSets) -> Self:
        """Read a buffer that holds one structure and nothing else.

        Raises:
            TpmError: as `unmarshal`; RC.SIZE if octets are left over.
        """
        value, end = cls.unmarshal(buffer, 0, profile)
        if end != len(buffer):
            raise TpmError(RC.SIZE)
        return value

    @classmethod
    def compiled_reader(cls, relaxed: Mapping[str, Kind]) -> Reader:
        """The generated reader; with `relaxed`, one in which these fields are of another kind."""
        if relaxed:
            out = Source(f"{cls.__name__} with {', '.join(relaxed)} relaxed")
            cls._emit_reader(out, {**dict(cls.__wire__), **relaxed})
            read: Reader = out.compile()["unmarshal"]
            return read
        if "unmarshal" not in cls.__dict__:
            cls._compile()
        return cls.unmarshal

    @classmethod
    def compiled_writer(cls) -> Writer:
        """The generated writer."""
        if "marshal" not in cls.__dict__:
            cls._compile()
        return cls.marshal

    @classmethod
    def _compile(cls) -> None:
        out = Source(cls.__name__)
        kinds = dict(cls.__wire__)
        with out.block(f"def __init__({', '.join(['self', *kinds])}):"):
            for field in kinds:
                out.line(f"self.{field} = {field}")
        cls._emit_reader(out, kinds)
        parts = [kind.emit_write(out, f"self.{field}") for field, kind in kinds.items()]
        out.writer("marshal", "self", chain.from_iterable(parts))
        compiled = out.compile()
        type.__setattr__(cls, "__init__", compiled["__init__"])
        type.__setattr__(cls, "unmarshal", staticmethod(compiled["unmarshal"]))
        type.__setattr__(cls, "marshal", compiled["marshal"])

    @classmethod
    def _emit_reader(cls, out: Source, kinds: Mapping[str, Kind]) -> None:
        values = ", ".join(f"v_{field}" for field in kinds)
        out.reader("unmarshal", kinds, f"{out.constant(cls.__name__, cls)}({values})")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field, _ in self.__wire__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = (f"{field}={self._shown(field, kind)}" for field, kind in self.__wire__)
        return f"{type(self).__name__}({', '.join(fields)})"

    def _shown(self, field: str, kind: Kind) -> str:
        value = getattr(self, field)
        if kind.secret and isinstance(value, bytes | bytearray):
            return f"<{len(value)} octets>"
        return repr(value)
