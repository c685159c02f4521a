"""What an envelope says of its content: the protected header of a COSE_Encrypt (RFC 9052, 3).

In every version, now and later, the header is a map in which -70001 is the version. A field that is
missing has its default; one that is unknown is refused, for what it says may restrict the use of
the state.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args
from uuid import UUID

from vtpmd.encoding import cbor

from .errors import newer
from .mark import Age, Mark

Kind = Literal["permanent", "volatile", "migration", "incoming", "suspended", "authority", "ticket"]
Handover = Literal["ours", "lent", "away"]
"""Whether this host may go on with a TPM: yes; until another has; no."""

FORMAT_VERSION = 1
BRANCH_SIZE = 16
FIRST_BRANCH = bytes(BRANCH_SIZE)
"""The branch of a TPM whose line of life was never begun anew."""
DEK_ID_SIZE = 16
COMMITMENT_SIZE = 32

ALG, A256GCM = 1, 3
_CRIT, _CONTENT_TYPE = 2, 3
_MEDIA_TYPE = "application/vnd.vtpmd.state"
_PRIVATE = list(range(-70001, -70009, -1))
_VERSION, _UUID, _GENERATION, _COMMITMENT, _KIND, _BRANCH, _EPOCH, _HANDOVER = _PRIVATE
_GENERATION_KEY, _COMMITMENT_KEY = cbor.encode(_GENERATION), cbor.encode(_COMMITMENT)
_DEFAULTS: Mapping[int, object] = {_BRANCH: FIRST_BRANCH, _EPOCH: 0, _HANDOVER: "ours"}


@dataclass(frozen=True)
class Header:
    """What an envelope says of its content.

    `generation` counts the writes of one instance; `dek_id` (16 octets) names the DEK. Whoever
    begins a new line of a TPM's life draws a new `branch` (16 octets) and takes a higher `epoch`.
    """

    uuid: UUID
    generation: int
    kind: Kind
    dek_id: bytes
    branch: bytes = FIRST_BRANCH
    epoch: int = 0
    handover: Handover = "ours"

    @property
    def mark(self) -> Mark:
        """Where in the TPM's life this state belongs."""
        return Mark(self.branch, self.epoch, self.generation)

    def age(self, other: "Header") -> Age:
        """How old this state is compared with `other`, as `Mark.age`; "other" of an instance."""
        return "other" if self.uuid != other.uuid else self.mark.age(other.mark)

    def supersedes(self, other: "Header") -> bool:
        """Whether this state is newer than `other`, or of a line that began after it."""
        return self.age(other) == "newer" or self.epoch > other.epoch

    def is_back(self, gone: "Header") -> bool:
        """Whether this is the state that left when `gone` was written, or what became of it."""
        left = replace(gone, generation=gone.generation - 1)
        return self.supersedes(gone) or self.age(left) in ("same", "newer")

    def anew(self, branch: bytes, known: "Header") -> "Header":
        """The beginning of a new line here, after this state and the newest one `known`."""
        epoch = max(self.epoch, known.epoch) + 1
        return replace(self, branch=branch, epoch=epoch, handover="ours")


def stricter(one: Handover, other: Handover) -> Handover:
    """That of two states of hand-over which permits less."""
    return max(one, other, key=get_args(Handover).index)


def demand_version(protected: bytes) -> None:
    """Raise EnvelopeError `newer` for a header of a later format version, CborError for none."""
    version = _decode(protected).get(_VERSION)
    if type(version) is not int or version < 1:
        raise cbor.malformed("its header names no format version")
    if version > FORMAT_VERSION:
        raise newer(version, FORMAT_VERSION)


def read_protected(protected: bytes, dek_id: bytes) -> tuple[Header, bytes]:
    """The header and the key commitment (32 octets) in what `protect` made. Raises CborError.

    `dek_id` is the one that the envelope names outside of this header.
    """
    stated = _decode(protected)
    private = [label for label in _PRIVATE if label in stated]
    expected = {ALG: A256GCM, _CRIT: private, _CONTENT_TYPE: _MEDIA_TYPE}
    fields = cbor.mapping({**_DEFAULTS, **stated}, [*expected, *_PRIVATE])
    if {label: fields[label] for label in expected} != expected:
        raise cbor.malformed("its header names another algorithm or media type")
    header = Header(
        uuid=UUID(bytes=cbor.octets(fields[_UUID], [16])),
        generation=cbor.uint(fields[_GENERATION]),
        kind=cast(Kind, _one_of(fields[_KIND], get_args(Kind))),
        dek_id=dek_id,
        branch=cbor.octets(fields[_BRANCH], [BRANCH_SIZE]),
        epoch=cbor.uint(fields[_EPOCH]),
        handover=cast(Handover, _one_of(fields[_HANDOVER], get_args(Handover))),
    )
    return header, cbor.octets(fields[_COMMITMENT], [COMMITMENT_SIZE])


class Protector:
    """Encodes headers that differ in generation only; what they have in common, once.

    Raises ValueError for a header that could not be read back.
    """

    def __init__(self, header: Header) -> None:
        self._before = _entries(
            {
                ALG: A256GCM,
                _CRIT: _PRIVATE,
                _CONTENT_TYPE: _MEDIA_TYPE,
                _VERSION: FORMAT_VERSION,
                _UUID: header.uuid.bytes,
            }
        )
        self._after = _entries(
            {
                _KIND: header.kind,
                _BRANCH: header.branch,
                _EPOCH: header.epoch,
                _HANDOVER: header.handover,
            }
        )
        try:
            read_protected(self.protect(0, bytes(COMMITMENT_SIZE)), header.dek_id)
        except cbor.CborError as error:
            raise ValueError(f"not a header: {error}") from None

    def protect(self, generation: int, commitment: bytes) -> bytes:
        """The encoded header; `commitment` has COMMITMENT_SIZE octets. Raises ValueError."""
        if not 0 <= generation < 1 << 64:
            raise ValueError("not a header: a generation is an unsigned integer of 64 bits")
        return cbor.map_of(
            *self._before,
            _GENERATION_KEY + cbor.encode(generation),
            _COMMITMENT_KEY + cbor.encode_octets(commitment),
            *self._after,
        )


def _entries(fields: Mapping[int, object]) -> list[bytes]:
    return [cbor.encode(label) + cbor.encode(value) for label, value in fields.items()]


def _decode(protected: bytes) -> Mapping[int, object]:
    try:
        fields = cbor.decode(protected)
    except cbor.CborError as error:
        raise cbor.malformed(f"in its header, {error}") from None
    if not isinstance(fields, dict):
        raise cbor.malformed("its header is no map")
    return fields


def _one_of(value: object, choices: Collection[str]) -> str:
    if cbor.text(value) not in choices:
        raise cbor.malformed(f"one of {', '.join(choices)} was expected")
    return cbor.text(value)
