"""The names of `vtpmd.encoding.cbor`, for importers that have not yet moved there."""

from vtpmd.encoding.cbor import (
    CborError,
    array,
    decode,
    encode,
    malformed,
    mapping,
    octets,
    text,
    uint,
)

__all__ = [
    "CborError",
    "array",
    "decode",
    "encode",
    "malformed",
    "mapping",
    "octets",
    "text",
    "uint",
]
