"""The kinds of layout in Part 2, one small class each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..rc import RC
from .codec import Kind, Number, Part, Source, format_of, kind_of


class UInt(Kind):
    """UINT8 to UINT64, TPM_* constants, TPMI_* interface types and TPMA_* attributes.

    A value passes if it is in `allowed`, in one of `ranges` (first and last), in the set the
    profile has under the name `listed` (under `listed[under]` if that is a mapping), or in
    `extra`; with none of them given, every value passes. Any other is refused with `error`, and
    one with a bit of `reserved` set with RC.RESERVED_BITS. `size` is in octets.
    """

    def __init__(
        self,
        size: int,
        *,
        allowed: Iterable[int] = (),
        ranges: Sequence[tuple[int, int]] = (),
        listed: str | None = None,
        under: int | None = None,
        extra: Iterable[int] = (),
        error: RC = RC.VALUE,
        reserved: int = 0,
        signed: bool = False,
    ) -> None:
        self.size = size
        self.allowed = frozenset(map(int, allowed))
        self.ranges = ranges
        self.listed = listed
        self.under = under
        self.extra = tuple(map(int, extra))
        self.error = error
        self.reserved = reserved
        self.signed = signed

    def emit_read(self, out: Source, var: str) -> None:
        out.line(f"{var}, = unpack_{self._format}(buffer, offset)")
        out.line(f"offset += {self.size}")
        if conditions := list(self._conditions(out, var)):
            with out.block(f"if not ({' or '.join(conditions)}):"):
                out.line(f"raise TpmError(RC.{self.error.name})")
        if self.reserved:
            with out.block(f"if {var} & {self.reserved:#x}:"):
                out.line("raise TpmError(RC.RESERVED_BITS)")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return (Number(self._format, value),)

    @property
    def _format(self) -> str:
        return format_of(self.size, signed=self.signed)

    def _conditions(self, out: Source, var: str) -> Iterator[str]:
        if self.allowed:
            yield f"{var} in {out.constant('allowed', self.allowed)}"
        if self.listed:
            key = "" if self.under is None else f"[{self.under:#x}]"
            yield f"{var} in profile.{self.listed}{key}"
        for first, last in self.ranges:
            yield f"{first:#x} <= {var} <= {last:#x}"
        for value in self.extra:
            yield f"{var} == {value:#x}"


def _emit_octets(out: Source, var: str, length: str) -> None:
    out.line(f"{var}_end = offset + {length}")
    with out.block(f"if {var}_end > len(buffer):"):
        out.line("raise TpmError(RC.INSUFFICIENT)")
    out.line(f"{var} = buffer[offset:{var}_end]")
    out.line(f"offset = {var}_end")


class Sized(Kind):
    """TPM2B_* of octets, between `minimum` and `limit` of them.

    A `limit` that is a name stands for that number of the profile.
    """

    def __init__(self, limit: int | str, *, minimum: int = 0, secret: bool = False) -> None:
        self.limit = limit
        self.minimum = minimum
        self.secret = secret

    def emit_read(self, out: Source, var: str) -> None:
        UInt(2).emit_read(out, f"{var}_size")
        limit = f"profile.{self.limit}" if isinstance(self.limit, str) else self.limit
        condition = f"{var}_size > {limit}"
        if self.minimum:
            condition = f"not {self.minimum} <= {var}_size <= {limit}"
        with out.block(f"if {condition}:"):
            out.line("raise TpmError(RC.SIZE)")
        _emit_octets(out, var, f"{var}_size")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return Number(format_of(2), f"len({value})"), value


class PcrSelect(Kind):
    """A bit map of PCRs with its length in one octet, as in TPMS_PCR_SELECT (10.5.1)."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def emit_read(self, out: Source, var: str) -> None:
        UInt(1).emit_read(out, f"{var}_size")
        with out.block(f"if not {self.minimum} <= {var}_size <= {self.maximum}:"):
            out.line("raise TpmError(RC.VALUE)")
        _emit_octets(out, var, f"{var}_size")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return Number(format_of(1), f"len({value})"), value


class Digest(Kind):
    """TPMU_HA: as many octets as the hash algorithm in the field `by` produces (10.2.1)."""

    def __init__(self, by: str) -> None:
        self.by = by

    def emit_read(self, out: Source, var: str) -> None:
        _emit_octets(out, var, f"DIGEST_SIZES[{out.sibling(self.by)}]")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return (value,)


class Rest(Kind):
    """All octets up to the end of the buffer."""

    def __init__(self, *, secret: bool = False) -> None:
        self.secret = secret

    def emit_read(self, out: Source, var: str) -> None:
        out.line(f"{var} = buffer[offset:]")
        out.line("offset = len(buffer)")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        return (value,)


class ListOf(Kind):
    """TPML_*: between `minimum` and `limit` elements.

    A `limit` that is a name stands for the size of that set of the profile.
    """

    def __init__(self, of: Any, limit: int | str, *, minimum: int = 0) -> None:
        self.of = kind_of(of)
        self.limit = limit
        self.minimum = minimum

    def emit_read(self, out: Source, var: str) -> None:
        UInt(4).emit_read(out, f"{var}_count")
        limit = f"len(profile.{self.limit})" if isinstance(self.limit, str) else self.limit
        with out.block(f"if not {self.minimum} <= {var}_count <= {limit}:"):
            out.line("raise TpmError(RC.SIZE)")
        out.line(f"{var} = []")
        with out.block(f"for _ in range({var}_count):"):
            self.of.emit_read(out, f"{var}_item")
            out.line(f"{var}.append({var}_item)")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        if isinstance(self.of, Sized):
            items = f"{out.constant('all_sized', _all_sized)}({value})"
        else:
            item = out.joined(self.of.emit_write(out, "item"))
            items = f"b''.join([{item} for item in {value}])"
        return Number(format_of(4), f"len({value})"), items


class SizedStructure(Kind):
    """TPM2B_* of a structure, whose size must be that of the structure.

    A size of zero is refused with RC.SIZE, or stands for None if `optional`.
    """

    def __init__(self, of: Any, *, optional: bool = False) -> None:
        self.of = kind_of(of)
        self.optional = optional

    def emit_read(self, out: Source, var: str) -> None:
        UInt(2).emit_read(out, f"{var}_size")
        if self.optional:
            out.line(f"{var} = None")
            with out.block(f"if {var}_size:"):
                self._emit_structure(out, var)
        else:
            with out.block(f"if not {var}_size:"):
                out.line("raise TpmError(RC.SIZE)")
            self._emit_structure(out, var)

    def _emit_structure(self, out: Source, var: str) -> None:
        out.line(f"{var}_end = offset + {var}_size")
        self.of.emit_read(out, var)
        with out.block(f"if offset != {var}_end:"):
            out.line("raise TpmError(RC.SIZE)")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        write = out.constant("write", self.of.writer)
        sized = f"{out.constant('sized', _sized)}({write}({value}))"
        return (f"(b'\\0\\0' if {value} is None else {sized})" if self.optional else sized,)


def _all_sized(payloads: Sequence[bytes]) -> bytes:
    """TPM2Bs one behind the other."""
    sizes = set(map(len, payloads))
    if len(sizes) == 1:  # as a rule they are digests of one algorithm
        size = sizes.pop().to_bytes(2)
        return size + size.join(payloads)
    return b"".join(map(_sized, payloads))


def _sized(payload: bytes) -> bytes:
    return len(payload).to_bytes(2) + payload


class Union(Kind):
    """TPMU_*: the field `selector` says which of `arms` (selector value to hint) is present."""

    def __init__(self, selector: str, arms: Mapping[int, Any], *, secret: bool = False) -> None:
        self.selector = selector
        self.arms = {int(value): kind_of(hint) for value, hint in arms.items()}
        self.secret = secret

    def emit_read(self, out: Source, var: str) -> None:
        arms = out.constant("arms", _compiled_when_called(self.arms, lambda arm: arm.reader))
        out.line(f"{var}_arm = {arms}.get({out.sibling(self.selector)})")
        with out.block(f"if {var}_arm is None:"):
            out.line("raise TpmError(RC.SELECTOR)")
        out.line(f"{var}, offset = {var}_arm(buffer, offset, profile)")

    def emit_write(self, out: Source, value: str) -> Sequence[Part]:
        arms = out.constant("arms", _compiled_when_called(self.arms, lambda arm: arm.writer))
        return (f"{arms}[self.{self.selector}]({value})",)


def _compiled_when_called(
    arms: Mapping[int, Kind], compiled: Callable[[Kind], Callable[..., Any]]
) -> dict[int, Callable[..., Any]]:
    functions: dict[int, Callable[..., Any]] = {}

    def stand_in(selector: int, arm: Kind) -> Callable[..., Any]:
        def compile_and_call(*arguments: Any) -> Any:
            functions[selector] = compiled(arm)
            return functions[selector](*arguments)

        return compile_and_call

    functions.update((selector, stand_in(selector, arm)) for selector, arm in arms.items())
    return functions
