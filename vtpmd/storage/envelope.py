"""The sealed form of TPM state: COSE_Encrypt (RFC 9052, 5.1), AES-256-GCM, one-time keys.

Format version 1, deterministic CBOR::

    96([ << { 1: 3, 2: [-70001 … -70008], 3: "application/vnd.vtpmd.state",
              -70001: format version, -70002: instance UUID, -70003: generation,
              -70004: key commitment, -70005: payload kind, -70006: branch, -70007: epoch,
              -70008: state of hand-over } >>,
         { 5: IV, -70010: [ slot … ], -70011: checksum },
         ciphertext and tag,
         [ [ << { 1: -10 } >>, { 4: DEK id, -20: salt }, h'' ] ] ])

Every write draws a fresh salt: HKDF-SHA-256 makes from it and the DEK a key for this one message,
so that restored or cloned files never repeat a nonce, and a commitment that tells a wrong key from
a damaged file. Slots hold the wrapped DEK. They and the DEK id stay outside the authenticated data,
for a KEK can then be replaced without the DEK; a foreign slot only fails to unwrap. The checksum is
the SHA-256 of the same message encoded without it: no protection, but it tells decay of the medium,
slots included, from everything that is done on purpose, before any key is at hand.

In every version, now and later, the octets begin with the tag 96, an array of four and the
protected header, so that a newer version is told as such whatever else it changes.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cbor2 import CBORTag
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vtpmd.encoding import cbor

from .errors import EnvelopeError, damaged, truncated, wrong_instance
from .header import (
    A256GCM,
    ALG,
    COMMITMENT_SIZE,
    Protector,
    demand_version,
    read_protected,
)
from .header import DEK_ID_SIZE as DEK_ID_SIZE
from .header import Header as Header
from .header import Kind as Kind
from .record import BEGINNING, MAX_SIZE
from .slot import Slot
from .wipe import wipe

DEK_SIZE = 32
MAX_SLOTS = 16

_COSE_ENCRYPT = 96
_KID, _IV, _SALT = 4, 5, -20
_SLOTS, _CHECKSUM = -70010, -70011
_DIRECT_HKDF_SHA_256 = -10

_RECIPIENT = cbor.encode({ALG: _DIRECT_HKDF_SHA_256})
_KEY_INFO = cbor.encode([A256GCM, [None] * 3, [None] * 3, [256, _RECIPIENT]])  # RFC 9053, 5.2
_ENCODED_RECIPIENT = cbor.encode(_RECIPIENT)
_ENCRYPT, _NOTHING = cbor.encode("Encrypt"), cbor.encode(b"")
_KID_KEY, _SALT_KEY, _IV_KEY = map(cbor.encode, (_KID, _SALT, _IV))
_SLOTS_KEY, _CHECKSUM_KEY = map(cbor.encode, (_SLOTS, _CHECKSUM))
_COMMITMENT_INFO = b"vtpmd-commit-v1"
_KEY_SIZE, _SALT_SIZE, _IV_SIZE, _TAG_SIZE = 32, 32, 12, 16


@dataclass(frozen=True)
class Envelope:
    """A parsed envelope. Until `unseal` has succeeded, nothing in it is authentic."""

    header: Header
    slots: tuple[Slot, ...]
    _protected: bytes = field(repr=False)
    _commitment: bytes = field(repr=False)
    _salt: bytes = field(repr=False)
    _iv: bytes = field(repr=False)
    _ciphertext: bytes = field(repr=False)

    def demand_instance(self, uuid: UUID) -> None:
        """Raise EnvelopeError `wrong-instance` unless this is the state of instance `uuid`."""
        if self.header.uuid != uuid:
            raise wrong_instance(self.header.uuid, uuid)

    def demand_key(self, dek: bytes | bytearray) -> None:
        """Raise EnvelopeError `wrong-key` unless this was sealed under `dek`."""
        if not hmac.compare_digest(_commitment(dek, self._salt), self._commitment):
            raise EnvelopeError(
                "wrong-key",
                f"the state file was sealed under another key than the one offered as DEK "
                f"{self.header.dek_id.hex()}: restore file and key slots from one backup",
            )

    def unseal(self, dek: bytes | bytearray, uuid: UUID, kind: Kind = "permanent") -> bytearray:
        """Return the plaintext; the caller wipes it.

        Checks in this order, and raises EnvelopeError for: the instance (`wrong-instance`), the
        key commitment (`wrong-key`), the AEAD and the payload kind (`damaged`).
        """
        self.demand_instance(uuid)
        self.demand_key(dek)
        plaintext = bytearray(len(self._ciphertext) - _TAG_SIZE)
        key = _one_time_key(dek, self._salt)
        try:
            AESGCM(key).decrypt_into(
                self._iv,
                self._ciphertext,
                _authenticated(self._protected),
                plaintext,
            )
        except InvalidTag:
            raise damaged("its content is not what was sealed, though the key is right") from None
        finally:
            wipe(key)
        if self.header.kind != kind:
            wipe(plaintext)
            raise damaged(f"it holds {self.header.kind} state where {kind} state belongs")
        return plaintext

    def replace_slots(self, slots: Sequence[Slot]) -> bytes:
        """Return this envelope encoded with other `slots`; needs no key, changes nothing else.

        Raises ValueError for none or more than MAX_SLOTS slots.
        """
        frame = _Frame(self.header.dek_id, slots)
        return frame.around(self._protected, self._iv, self._ciphertext, self._salt)


class Sealer:
    """Seals states whose headers differ in generation only; what they have in common, once.

    `dek` has 32 octets. Raises ValueError where the envelope could not be read back: sizes, ranges,
    more than MAX_SLOTS slots.
    """

    def __init__(self, dek: bytes | bytearray, header: Header, slots: Sequence[Slot]) -> None:
        if len(dek) != DEK_SIZE or len(header.dek_id) != DEK_ID_SIZE:
            raise ValueError("a DEK has 32 bytes, its id 16")
        self._dek = dek
        self._protector = Protector(header)
        self._frame = _Frame(header.dek_id, slots)

    def seal(
        self,
        generation: int,
        plaintext: bytes | bytearray,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> bytes:
        """Seal `plaintext` into an envelope.

        `entropy` gives the salt (32 octets) and the IV (12 octets) at once. Raises ValueError for
        an envelope of more than MAX_SIZE octets.
        """
        drawn = entropy(_SALT_SIZE + _IV_SIZE)
        salt, iv = drawn[:_SALT_SIZE], drawn[_SALT_SIZE:]
        protected = self._protector.protect(generation, _commitment(self._dek, salt))
        key = _one_time_key(self._dek, salt)
        try:
            ciphertext = AESGCM(key).encrypt(iv, plaintext, _authenticated(protected))
        finally:
            wipe(key)
        return self._frame.around(protected, iv, ciphertext, salt)


def seal(
    dek: bytes | bytearray,
    header: Header,
    slots: Sequence[Slot],
    plaintext: bytes | bytearray,
    entropy: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Seal `plaintext` under `dek` into an envelope with `header` and `slots`, as `Sealer` does."""
    return Sealer(dek, header, slots).seal(header.generation, plaintext, entropy)


def parse(data: bytes) -> Envelope:
    """Read an envelope without any key.

    Raises EnvelopeError `newer` for a format version above FORMAT_VERSION, `truncated` or
    `damaged` for everything that `seal` and `replace_slots` would not have written.
    """
    if len(data) > MAX_SIZE:
        raise damaged(f"it has {len(data)} octets, more than the {MAX_SIZE} of any state file")
    try:
        if data.startswith(BEGINNING):
            demand_version(cbor.octets_at(data, len(BEGINNING)))
        envelope = _read(cbor.decode(data, tags=(_COSE_ENCRYPT,)))
    except cbor.CborError as error:
        if error.kind == "truncated":
            raise truncated(str(error)) from None
        raise damaged(str(error)) from None
    if envelope.replace_slots(envelope.slots) != data:
        raise damaged("its checksum does not match its content")
    return envelope


def _read(message: object) -> Envelope:
    if not isinstance(message, CBORTag) or message.tag != _COSE_ENCRYPT:
        raise cbor.malformed("it is not an envelope of vtpmd")
    protected, unprotected, ciphertext, recipients = cbor.array(message.value, [4])
    (recipient,) = cbor.array(recipients, [1])
    form, key_fields, encrypted_key = cbor.array(recipient, [3])
    if form != _RECIPIENT or encrypted_key != b"":
        raise cbor.malformed("its recipient is not of the form in use")
    outer = cbor.mapping(unprotected, [_IV, _SLOTS, _CHECKSUM])
    inner = cbor.mapping(key_fields, [_KID, _SALT])
    dek_id = cbor.octets(inner[_KID], [DEK_ID_SIZE])
    header, commitment = read_protected(cbor.octets(protected), dek_id)
    slots = cbor.array(outer[_SLOTS], range(1, MAX_SLOTS + 1))
    return Envelope(
        header=header,
        slots=tuple(Slot.from_cbor(slot) for slot in slots),
        _protected=cbor.octets(protected),
        _commitment=commitment,
        _salt=cbor.octets(inner[_SALT], [_SALT_SIZE]),
        _iv=cbor.octets(outer[_IV], [_IV_SIZE]),
        _ciphertext=cbor.octets(ciphertext, range(_TAG_SIZE, MAX_SIZE)),
    )


class _Frame:
    """What is around the ciphertext in envelopes with these slots."""

    def __init__(self, dek_id: bytes, slots: Sequence[Slot]) -> None:
        if not 1 <= len(slots) <= MAX_SLOTS:
            raise ValueError(f"an envelope has 1 to {MAX_SLOTS} slots")
        self._slots = _SLOTS_KEY + cbor.encode([slot.to_cbor() for slot in slots])
        self._kid = _KID_KEY + cbor.encode(dek_id)

    def around(self, protected: bytes, iv: bytes, ciphertext: bytes, salt: bytes) -> bytes:
        """The envelope. Raises ValueError for more than MAX_SIZE octets."""
        key_fields = cbor.map_of(self._kid, _SALT_KEY + cbor.encode_octets(salt))
        recipient = cbor.array_of(_ENCODED_RECIPIENT, key_fields, _NOTHING)
        before = BEGINNING + cbor.encode_octets(protected)
        after = cbor.encode_octets(ciphertext) + cbor.array_of(recipient)
        unprotected = _IV_KEY + cbor.encode_octets(iv), self._slots
        summed = hashlib.sha256(before + cbor.map_of(*unprotected) + after).digest()
        checksum = _CHECKSUM_KEY + cbor.encode_octets(summed)
        data = before + cbor.map_of(*unprotected, checksum) + after
        if len(data) > MAX_SIZE:
            raise ValueError(f"an envelope has at most {MAX_SIZE} octets, this one {len(data)}")
        return data


def _authenticated(protected: bytes) -> bytes:
    # Enc_structure, RFC 9052, 5.3
    return cbor.array_of(_ENCRYPT, cbor.encode_octets(protected), _NOTHING)


def _commitment(dek: bytes | bytearray, salt: bytes) -> bytes:
    return HKDF(SHA256(), COMMITMENT_SIZE, salt, _COMMITMENT_INFO).derive(dek)


def _one_time_key(dek: bytes | bytearray, salt: bytes) -> bytearray:
    """The key of one message; the caller wipes it."""
    key = bytearray(_KEY_SIZE)
    HKDF(SHA256(), _KEY_SIZE, salt, _KEY_INFO).derive_into(dek, key)
    return key
