"""A ticket: what a migration's target has to know of an instance and must not take from its state.

An envelope as that of stored state, with content of the kind `ticket` under a key of its own, which
is wrapped by the instance's key provider under an id that marks it: no worker ever has such a key
or can ask for one, so a ticket is the word of a daemon that shares the KEK. What is sealed, as
canonical CBOR::

    { 1: version, 2: meta.json, 3: EK certificates in PEM, 4: entries of the ledger,
      5: id of the DEK, 6: [slot, …], 7: format version of the state files, 8: version of vtpmd,
      9: version of the TPM's state, 10: [field of it, …] }

Nothing in it is a secret that its key slots don't protect. Its version is the first thing that is
looked at; a later one is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from vtpmd import __version__
from vtpmd.encoding import cbor
from vtpmd.pki.certificates import Certificates
from vtpmd.pki.entries import Entry, decode_all
from vtpmd.pki.entries import encode as encode_entry
from vtpmd.pki.errors import PkiError
from vtpmd.storage.envelope import MAX_SLOTS, Envelope, Header, parse, seal
from vtpmd.storage.errors import EnvelopeError
from vtpmd.storage.header import FORMAT_VERSION
from vtpmd.storage.key import Key
from vtpmd.storage.slot import Slot
from vtpmd.supervisor.metadata import MAX_PUBLIC_FILE, Metadata, MetadataError

VERSION = 1
MAX_LEDGER = 1 << 20
_KEYS = range(1, 11)
_VERSION, _META, _CERTIFICATES, _LEDGER, _DEK_ID, _SLOTS, _FORMAT, _VTPMD, _STATE, _FIELDS = _KEYS
_MAX_FIELDS = range(2001)


class TicketError(Exception):
    """The ticket is refused; the text says why."""


@dataclass(frozen=True)
class Ticket:
    """An instance as its source knows it: metadata, EK certificates, the ledger's entries.

    `dek_id` and `slots`: the key of its state, wrapped; `state_version` and `state_fields`: how
    the source's engine writes it; `format`: how its state files are; `vtpmd`: the version of the
    daemon that wrote the ticket.
    """

    metadata: Metadata
    certificates: Certificates
    ledger: Sequence[Entry]
    dek_id: bytes
    slots: tuple[Slot, ...]
    state_version: int
    state_fields: tuple[str, ...]
    format: int = FORMAT_VERSION
    vtpmd: str = __version__

    def encode(self, key: Key) -> bytes:
        """The file, sealed under the ticket's own key. Raises ValueError for one too large."""
        header = Header(self.metadata.uuid, 0, "ticket", key.dek_id)
        return seal(key.dek, header, key.slots, self.content)

    @property
    def content(self) -> bytes:
        """What is sealed."""
        return cbor.encode(
            {
                _VERSION: VERSION,
                _META: self.metadata.encode(),
                _CERTIFICATES: self.certificates.pem if self.certificates.leaves else b"",
                _LEDGER: b"".join(map(encode_entry, self.ledger)),
                _DEK_ID: self.dek_id,
                _SLOTS: [slot.to_cbor() for slot in self.slots],
                _FORMAT: self.format,
                _VTPMD: self.vtpmd,
                _STATE: self.state_version,
                _FIELDS: list(self.state_fields),
            }
        )


def sealed(data: bytes) -> Envelope:
    """A ticket as far as it can be read without its key. Raises TicketError."""
    try:
        envelope = parse(data)
    except EnvelopeError as error:
        raise TicketError(_of_a_file(error)) from None
    if envelope.header.kind != "ticket":
        raise TicketError(f"it holds {envelope.header.kind} state")
    return envelope


def opened(envelope: Envelope, dek: bytearray) -> Ticket:
    """A ticket that its key proves to be a daemon's. Raises TicketError."""
    uuid = envelope.header.uuid
    try:
        content = bytes(envelope.unseal(dek, uuid, "ticket"))
        return _decode(content, uuid)
    except EnvelopeError as error:
        raise TicketError(_of_a_file(error)) from None
    except (cbor.CborError, MetadataError, PkiError) as error:
        raise TicketError(str(error)) from None


def _decode(content: bytes, uuid: UUID) -> Ticket:
    fields = cbor.decode(content)
    if not isinstance(fields, dict) or type(version := fields.get(_VERSION)) is not int:
        raise TicketError("it names no version")
    if version > VERSION:
        raise TicketError(f"it has version {version}, written by a newer vtpmd")
    stated = cbor.mapping(fields, _KEYS)
    metadata = Metadata.decode(cbor.octets(stated[_META], range(MAX_PUBLIC_FILE + 1)))
    if metadata.uuid != uuid:
        raise TicketError("it is of two instances")
    slots = cbor.array(stated[_SLOTS], range(1, MAX_SLOTS + 1))
    certificates = cbor.octets(stated[_CERTIFICATES], range(MAX_PUBLIC_FILE + 1))
    return Ticket(
        metadata=metadata,
        certificates=Certificates.from_pem(certificates) if certificates else Certificates(),
        ledger=decode_all(cbor.octets(stated[_LEDGER], range(MAX_LEDGER + 1)), "its ledger"),
        dek_id=cbor.octets(stated[_DEK_ID]),
        slots=tuple(map(Slot.from_cbor, slots)),
        state_version=cbor.uint(stated[_STATE]),
        state_fields=tuple(map(_field, cbor.array(stated[_FIELDS], _MAX_FIELDS))),
        format=cbor.uint(stated[_FORMAT]),
        vtpmd=_version(stated[_VTPMD]),
    )


def _version(value: object) -> str:
    text = cbor.text(value)
    if len(text) > 64 or not text.isprintable():
        raise cbor.malformed("it names no version of vtpmd")
    return text


def _field(value: object) -> str:
    text = cbor.text(value)
    if len(text) > 128 or not text.isprintable():
        raise cbor.malformed("it names no field of a state")
    return text


def _of_a_file(error: EnvelopeError) -> str:
    return str(error).replace("the state file", "it").partition("; ")[0]
