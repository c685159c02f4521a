"""What an envelope says of its content: the protected header of a COSE_Encrypt (RFC 9052, 3).

In every version, now and later, the header is a map in which -70001 is the version. A field that is
missing has its default; one that is unknown is refused, for what it says may restrict the use of
the state.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args
from uuid import UUID

from vtpmd.encoding import cbor

from .errors import newer

Kind = Literal["permanent", "volatile", "migration", "authority"]
Handover = Literal["ours", "lent", "away"]
"""Whether this host may go on with a TPM: yes; until another has; no."""
Age = Literal["older", "same", "newer", "other"]


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

    def age(self, other: "Header") -> Age:
        """How old this state is compared with `other`; of another branch or instance: "other".

        In one branch the epoch decides, then the generation.
        """
        if (self.uuid, self.branch) != (other.uuid, other.branch):
            return "other"
        mine, theirs = (self.epoch, self.generation), (other.epoch, other.generation)
        return "same" if mine == theirs else "newer" if mine > theirs else "older"


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


def protect(header: Header, commitment: bytes) -> bytes:
    """The encoded header. Raises ValueError for one that could not be read back."""
    protected = cbor.encode(
        {
            ALG: A256GCM,
            _CRIT: _PRIVATE,
            _CONTENT_TYPE: _MEDIA_TYPE,
            _VERSION: FORMAT_VERSION,
            _UUID: header.uuid.bytes,
            _GENERATION: header.generation,
            _COMMITMENT: commitment,
            _KIND: header.kind,
            _BRANCH: header.branch,
            _EPOCH: header.epoch,
            _HANDOVER: header.handover,
        }
    )
    try:
        read_protected(protected, header.dek_id)
    except cbor.CborError as error:
        raise ValueError(f"not a header: {error}") from None
    return protected


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
