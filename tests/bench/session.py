"""An HMAC session, neither salted nor bound, as Part 1, 17.6 has it."""

import hashlib
import hmac
import struct

from tests.bench.encoding import (
    NULL,
    SHA256,
    START_AUTH_SESSION,
    RefusedError,
    command,
    first_sized,
    response,
    sized,
)
from tests.bench.target import Target

CONTINUE = 0x01


class HmacSession:
    """Authorizes commands for entities with an empty authorization value."""

    def __init__(self, target: Target) -> None:
        self._nonce_caller = hashlib.sha256(b"caller").digest()
        start = command(
            START_AUTH_SESSION,
            (NULL, NULL),
            sized(self._nonce_caller) + sized(b"") + b"\0" + b"\x00\x10" + SHA256,
        )
        started = response(target.execute(start), with_handle=True)
        self._handle = started.handle
        (self._nonce_tpm,) = first_sized(started.parameters)

    def command(self, code: int, handle: int, parameters: bytes) -> bytes:
        """The command with its authorization; handle is of a PCR, whose Name is the handle."""
        name = struct.pack(">I", handle)
        cp_hash = hashlib.sha256(struct.pack(">I", code) + name + parameters).digest()
        proof = self._hmac(cp_hash, self._nonce_caller, self._nonce_tpm)
        area = struct.pack(">I", self._handle) + sized(self._nonce_caller)
        authorization = area + bytes([CONTINUE]) + sized(proof)
        return command(code, (handle,), parameters, authorization)

    def accept(self, code: int, data: bytes) -> None:
        """Check the response's HMAC and take over the TPM's new nonce."""
        answer = response(data)
        self._nonce_tpm, rest = first_sized(answer.sessions)[0], answer.sessions[34:]
        rp_hash = hashlib.sha256(struct.pack(">II", 0, code) + answer.parameters).digest()
        proof = self._hmac(rp_hash, self._nonce_tpm, self._nonce_caller)
        if not hmac.compare_digest(rest, bytes([CONTINUE]) + sized(proof)):
            raise RefusedError("the response's HMAC is wrong")

    def _hmac(self, parameters_hash: bytes, newer: bytes, older: bytes) -> bytes:
        message = parameters_hash + newer + older + bytes([CONTINUE])
        return hmac.digest(b"", message, "sha256")
