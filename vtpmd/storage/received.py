"""State that came from elsewhere: kept beside our own until a command of the guest promotes it."""

from dataclasses import dataclass, field

from vtpmd.encoding import cbor

from .errors import damaged
from .header import Header

_PERMANENT, _VOLATILE = 1, 2
_DEFAULTS: dict[int, object] = {_VOLATILE: None}


@dataclass(frozen=True)
class Received:
    """Permanent state and, unless the TPM was off, volatile state; `header` is what it said."""

    header: Header
    permanent: bytes = field(repr=False)
    volatile: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        """The states as one, to be sealed with the header."""
        return cbor.encode({_PERMANENT: self.permanent, _VOLATILE: self.volatile})

    @classmethod
    def decode(cls, header: Header, content: bytes) -> "Received":
        """Read what `encode` made. Raises EnvelopeError `damaged`."""
        try:
            stated = cbor.decode(content)
            if not isinstance(stated, dict):
                raise cbor.malformed("it is no map")
            fields = cbor.mapping({**_DEFAULTS, **stated}, [_PERMANENT, _VOLATILE])
            volatile = fields[_VOLATILE]
            return cls(
                header,
                cbor.octets(fields[_PERMANENT]),
                None if volatile is None else cbor.octets(volatile),
            )
        except cbor.CborError as error:
            raise damaged(f"in received state, {error}") from None
