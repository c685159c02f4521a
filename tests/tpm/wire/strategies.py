"""Hypothesis strategies for values that a declaration allows, and for octets that it may not."""

from typing import Any

from hypothesis import strategies as st

from vtpmd.tpm.wire.structure import (
    AllowedSets,
    Digest,
    Empty,
    Kind,
    ListOf,
    Nested,
    PcrSelect,
    Rest,
    Sized,
    SizedStructure,
    UInt,
    Union,
)

from .oracle import DIGEST_SIZES

MOST_OCTETS = 80
MOST_ELEMENTS = 3


def integers(kind: UInt, profile: AllowedSets) -> st.SearchStrategy[int]:
    choices = [*kind.allowed, *kind.extra]
    if kind.listed:
        listed = getattr(profile, kind.listed)
        choices += listed if kind.under is None else listed[kind.under]
    strategies: list[st.SearchStrategy[int]] = [st.integers(*limits) for limits in kind.ranges]
    if choices:
        strategies.append(st.sampled_from(sorted(choices)))
    if not strategies:
        bits = kind.size * 8
        low, high = (-(1 << bits - 1), 1 << bits - 1) if kind.signed else (0, 1 << bits)
        strategies.append(st.integers(low, high - 1).map(lambda n: n & ~kind.reserved))
    return st.one_of(strategies)


@st.composite
def structures(draw: st.DrawFn, kind: Nested, profile: AllowedSets) -> Any:
    kinds = {**dict(kind.of.__wire__), **kind.relaxed}
    unions = {union.selector: union for union in kinds.values() if isinstance(union, Union)}
    values: dict[str, Any] = {}
    for field, of in kinds.items():
        strategy = value(of, profile, values)
        if field in unions:
            arms = unions[field].arms
            if isinstance(of, UInt) and not (of.allowed or of.ranges or of.listed or of.extra):
                strategy = st.sampled_from(sorted(arms))
            strategy = strategy.filter(arms.__contains__)
        values[field] = draw(strategy)
    return kind.of(**values)


def value(kind: Kind, profile: AllowedSets, before: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of this kind; `before` has the fields that precede it in its structure."""
    match kind:
        case Empty():
            return st.none()
        case UInt():
            return integers(kind, profile)
        case Sized():
            limit = kind.limit if isinstance(kind.limit, int) else MOST_OCTETS
            return st.binary(min_size=kind.minimum, max_size=min(limit, MOST_OCTETS))
        case PcrSelect():
            return st.binary(min_size=kind.minimum, max_size=kind.maximum)
        case Digest():
            size = DIGEST_SIZES[before[kind.by]]
            return st.binary(min_size=size, max_size=size)
        case Rest():
            return st.binary(max_size=MOST_OCTETS)
        case ListOf():
            limit = kind.limit if isinstance(kind.limit, int) else MOST_ELEMENTS
            most = min(limit, MOST_ELEMENTS)
            return st.lists(value(kind.of, profile, {}), min_size=kind.minimum, max_size=most)
        case Nested():
            return structures(kind, profile)
        case SizedStructure():
            of = value(kind.of, profile, {})
            return st.none() | of if kind.optional else of
        case Union():
            return value(kind.arms[before[kind.selector]], profile, before)
    raise AssertionError(f"no rule for {kind}")


@st.composite
def damaged(draw: st.DrawFn, octets: bytes) -> bytes:
    """These octets with some changed, inserted or cut off."""
    result = bytearray(octets)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(result)))
        match draw(st.sampled_from(("change", "integer", "insert", "cut"))):
            case "change":
                result[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "integer":
                result[at : at + 2] = draw(st.integers(0, 0x45)).to_bytes(2)
            case "insert":
                result[at:at] = draw(st.binary(max_size=3))
            case _:
                del result[at:]
    return bytes(result)
