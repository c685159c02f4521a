"""Slots: one DEK, wrapped by one key provider."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from vtpmd.encoding import cbor

Purpose = Literal["primary", "recovery"]

_KEYS = range(1, 9)  # one per field, in the order of declaration
_MAX_WRAPPED = 4096
_MAX_NAME = 2048  # characters, as many as an ARN of AWS


@dataclass(frozen=True)
class Slot:
    """A DEK wrapped by one key provider.

    `key_ref` and `key_version` name the KEK as its provider does (the version is empty where it
    counts none), `algorithm` names the wrapping, `created` is in seconds since 1970. Names are
    printable, for people read them. Raises ValueError for values that could not be read back.
    """

    provider_type: str
    provider: str
    key_ref: str
    key_version: str
    algorithm: str
    wrapped: bytes = field(repr=False)
    created: int
    purpose: Purpose = "primary"

    def __post_init__(self) -> None:
        try:
            _check(self._fields())
        except cbor.CborError as error:
            raise ValueError(f"not a slot: {error}") from None

    def to_cbor(self) -> dict[int, object]:
        """The map that stands for this slot inside an envelope or a message."""
        return dict(zip(_KEYS, self._fields(), strict=True))

    @classmethod
    def from_cbor(cls, value: object) -> "Slot":
        """Read what `to_cbor` made; raises CborError for anything else."""
        entries = cbor.mapping(value, _KEYS)
        try:
            return cls(*(entries[key] for key in _KEYS))  # type: ignore[arg-type]
        except ValueError as error:
            raise cbor.malformed(str(error)) from None

    def encode(self) -> bytes:
        """This slot by itself, as octets."""
        return cbor.encode(self.to_cbor())

    @classmethod
    def decode(cls, data: bytes) -> "Slot":
        """Read what `encode` made; raises CborError for anything else."""
        return cls.from_cbor(cbor.decode(data))

    def _fields(self) -> tuple[object, ...]:
        return tuple(vars(self).values())


def _check(fields: tuple[object, ...]) -> None:
    *names, wrapped, created, purpose = fields
    for name in names:
        if len(cbor.text(name)) > _MAX_NAME or not cbor.text(name).isprintable():
            raise cbor.malformed(f"a slot's names have up to {_MAX_NAME} printable characters")
    cbor.octets(wrapped, range(1, _MAX_WRAPPED + 1))
    cbor.uint(created)
    if cbor.text(purpose) not in get_args(Purpose):
        raise cbor.malformed(f"a slot has no purpose {purpose!r}")
