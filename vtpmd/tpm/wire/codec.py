"""The code generator: from a description of fields to Python source to functions.

A `Kind` says how one value is laid out and generates the lines that read and write it, as plain
straight-line Python. The code reads the fields one by one in order, so that a malformed buffer gets
the response code its table requires. It is registered with `linecache`, so that tracebacks show it
and debuggers step through it.
"""

import linecache
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from struct import Struct
from struct import error as struct_error
from typing import Annotated, Any, NamedTuple, Protocol, get_args, get_origin

from ..rc import RC, TpmError
from .constants import DIGEST_SIZES


class AllowedSets(Protocol):
    """The sets and limits of a profile that input is checked against.

    Kinds refer to these by name (`UInt(2, listed="hash_algs")`). None of the sets holds ALG.NULL.
    """

    @property
    def hash_algs(self) -> frozenset[int]: ...
    @property
    def asym_algs(self) -> frozenset[int]: ...
    @property
    def object_types(self) -> frozenset[int]: ...
    @property
    def symmetric_algs(self) -> frozenset[int]: ...
    @property
    def block_ciphers(self) -> frozenset[int]: ...
    @property
    def symmetric_key_bits(self) -> Mapping[int, frozenset[int]]: ...
    @property
    def symmetric_modes(self) -> frozenset[int]: ...
    @property
    def cipher_modes(self) -> frozenset[int]: ...
    @property
    def mac_schemes(self) -> frozenset[int]: ...
    @property
    def kdfs(self) -> frozenset[int]: ...
    @property
    def sig_schemes(self) -> frozenset[int]: ...
    @property
    def keyedhash_schemes(self) -> frozenset[int]: ...
    @property
    def rsa_schemes(self) -> frozenset[int]: ...
    @property
    def rsa_decrypt_schemes(self) -> frozenset[int]: ...
    @property
    def rsa_key_bits(self) -> frozenset[int]: ...
    @property
    def ecc_schemes(self) -> frozenset[int]: ...
    @property
    def ecc_key_exchanges(self) -> frozenset[int]: ...
    @property
    def ecc_curves(self) -> frozenset[int]: ...
    @property
    def mlkem_parms(self) -> frozenset[int]: ...
    @property
    def mldsa_parms(self) -> frozenset[int]: ...
    @property
    def max_encrypted_secret_size(self) -> int: ...
    @property
    def max_public_size(self) -> int: ...
    @property
    def max_context_data_size(self) -> int: ...


Reader = Callable[[bytes, int, AllowedSets], tuple[Any, int]]
"""`(buffer, offset, profile)` to the value found there and the offset just past it."""

Writer = Callable[[Any], bytes]


class Number(NamedTuple):
    """An integer to be written: its format in `struct` and the expression of its value."""

    format: str
    value: str


Part = str | Number
"""What is written: an integer, or an expression of octets that can be an operand."""

_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}

_NAMESPACE: dict[str, Any] = {
    "DIGEST_SIZES": DIGEST_SIZES,
    "RC": RC,
    "TpmError": TpmError,
    "struct_error": struct_error,
    **{
        f"unpack_{code}": Struct(f">{code}").unpack_from
        for unsigned in _UNSIGNED.values()
        for code in (unsigned, unsigned.lower())
    },
}


def format_of(size: int, *, signed: bool = False) -> str:
    """The format in `struct` of an integer of this many octets."""
    return _UNSIGNED[size].lower() if signed else _UNSIGNED[size]


class Source:
    """Python source being generated, and the objects it refers to."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: list[str] = []
        self._depth = 0
        self._prefix = ""
        self._namespace = dict(_NAMESPACE)

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Add a compound statement; what is added inside the `with` is its body."""
        self.line(header)
        self._depth += 1
        yield
        self._depth -= 1

    def constant(self, label: str, value: object) -> str:
        """Make `value` available to the generated code; returns its name there."""
        name = f"{label}_{len(self._namespace) - len(_NAMESPACE) + 1}"
        self._namespace[name] = value
        return name

    def define(self, name: str, value: object) -> None:
        """Make `value` available to the generated code under this name."""
        self._namespace[name] = value

    def read_fields(self, prefix: str, fields: Mapping[str, "Kind"]) -> str:
        """Add lines that read these fields into variables; returns their names as arguments."""
        around, self._prefix = self._prefix, prefix
        for field, kind in fields.items():
            kind.emit_read(self, prefix + field)
        self._prefix = around
        return ", ".join(prefix + field for field in fields)

    def sibling(self, field: str) -> str:
        """The variable of another field of the structure being read."""
        return self._prefix + field

    def reader(self, name: str, fields: Mapping[str, "Kind"], result: str) -> None:
        """Add a `Reader` of these fields; `result` is the expression it returns."""
        with self.block(f"def {name}(buffer, offset, profile):"):
            with self.block("try:"):
                self.read_fields("v_", fields)
                self.line(f"return {result}, offset")
            with self.block("except struct_error:"):
                self.line("raise TpmError(RC.INSUFFICIENT) from None")

    def writer(self, name: str, argument: str, parts: Iterable[Part]) -> None:
        """Add a `Writer` of these parts."""
        with self.block(f"def {name}({argument}):"):
            self.line(f"return {self.joined(parts)}")

    def joined(self, parts: Iterable[Part]) -> str:
        """An expression of the octets of all parts; integers in a row are packed in one call."""
        octets: list[str] = []
        for are_numbers, group in groupby(parts, lambda part: isinstance(part, Number)):
            row = list(group)
            octets += [self._packed(row)] if are_numbers else map(str, row)
        if octets and octets[0].startswith("pack_"):
            if len(octets) == 1:
                return octets[0]
            if len(octets) == 2:
                return " + ".join(octets)
        return f"b''.join(({', '.join(octets)},))" if octets else "b''"

    def _packed(self, row: Iterable[Any]) -> str:
        formats, values = zip(*row, strict=True)
        name = f"pack_{''.join(formats)}"
        self._namespace.setdefault(name, Struct(f">{''.join(formats)}").pack)
        return f"{name}({', '.join(values)})"

    def compile(self) -> dict[str, Any]:
        """Run the source; returns the names it defines, among others."""
        text = "\n".join(self._lines) + "\n"
        filename = f"<wire {self._title}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        exec(compile(text, filename, "exec"), self._namespace)
        return self._namespace


class Kind(ABC):
    """How one value is laid out."""

    secret = False
    """Whether `Structure.__repr__` must hide the octets."""

    @cached_property
    def reader(self) -> Reader:
        """A function that reads one such value."""
        out = Source(f"read {type(self).__name__}")
        out.reader("read", {"value": self}, "v_value")
        read: Reader = out.compile()["read"]
        return read

    @cached_property
    def writer(self) -> Writer:
        """A function that turns one such value into octets."""
        out = Source(f"write {type(self).__name__}")
        out.writer("write", "value", self.emit_write(out, "value"))
        write: Writer = out.compile()["write"]
        return write

    @abstractmethod
    def emit_read(self, out: Source, var: str) -> None:
        """Add lines that read the value at `offset` into `var` and advance `offset`."""

    @abstractmethod
    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        """What is written of the expression `value`."""


class Empty(Kind):
    """No octets; the value is None (TPMS_EMPTY, 10.1)."""

    def emit_read(self, out: Source, var: str) -> None:
        out.line(f"{var} = None")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return ()


def kind_of(hint: Any) -> Kind:
    """The kind of a type hint: a `Kind`, `Annotated[…, kind]`, a Structure class or None.

    Raises:
        TypeError: the hint does not say how the value is laid out.
    """
    if isinstance(hint, Kind):
        return hint
    if hint is None:
        return Empty()
    candidates = (
        get_args(hint) if get_origin(hint) is Annotated else (getattr(hint, "__kind__", None),)
    )
    for candidate in candidates:
        if isinstance(candidate, Kind):
            return candidate
    raise TypeError(f"{hint!r} does not say how it is laid out")


def reader(hint: Any) -> Reader:
    """A function that reads one value of this kind (see `kind_of`)."""
    return kind_of(hint).reader


def writer(hint: Any) -> Writer:
    """A function that turns one value of this kind into octets (see `kind_of`)."""
    return kind_of(hint).writer


def parse(hint: Any, buffer: bytes, profile: AllowedSets) -> Any:
    """Read a buffer that holds one value of this kind and nothing else.

    Raises:
        TpmError: the octets are not such a value; RC.SIZE if some are left over.
    """
    value, end = kind_of(hint).reader(buffer, 0, profile)
    if end != len(buffer):
        raise TpmError(RC.SIZE)
    return value
