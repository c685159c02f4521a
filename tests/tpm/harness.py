"""Drives a TPM by raw commands: vtpmd's engine in this process, or a real swtpm beside it.

Everything a caller has to compute (session keys, HMACs, encryption of parameters) is computed here
with hashlib, hmac and `cryptography`, independently of the engine.

    tester.run(CC.CLEAR, handles=[RH.LOCKOUT], auths=[Password(b"")])  ->  Result(rc, handle, body)
"""

import hashlib
import hmac
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from tests.peers.client import (
    CMD_HASH_DATA,
    CMD_HASH_END,
    CMD_HASH_START,
    CMD_INIT,
    CMD_SET_LOCALITY,
    Control,
    Data,
)
from tests.peers.swtpm import SwtpmInstance
from tests.tpm import states
from vtpmd.tpm.engine import Engine, Reply
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CC, RH, SE, SU

HASH_NAMES = {
    ALG.SHA1: "sha1",
    ALG.SHA256: "sha256",
    ALG.SHA384: "sha384",
    ALG.SHA512: "sha512",
    ALG.SHA3_256: "sha3_256",
    ALG.SHA3_384: "sha3_384",
    ALG.SHA3_512: "sha3_512",
}
CONTINUE, AUDIT_EXCLUSIVE, AUDIT_RESET = 0x01, 0x02, 0x04
DECRYPT, ENCRYPT, AUDIT = 0x20, 0x40, 0x80
_SESSION_HANDLES = (0x02, 0x03)
_RESPONSE_HANDLE = {
    CC.CREATE_PRIMARY,
    CC.LOAD,
    CC.LOAD_EXTERNAL,
    CC.CONTEXT_LOAD,
    CC.HMAC_START,
    CC.HASH_SEQUENCE_START,
    CC.START_AUTH_SESSION,
    CC.CREATE_LOADED,
    CC.SIGN_SEQUENCE_START,
    CC.VERIFY_SEQUENCE_START,
}


def sized(octets: bytes) -> bytes:
    """A TPM2B."""
    return len(octets).to_bytes(2) + octets


def digest(alg: int, *parts: bytes) -> bytes:
    """H(parts)."""
    return hashlib.new(HASH_NAMES[ALG(alg)], b"".join(parts)).digest()


def kdfa(alg: int, key: bytes, label: bytes, u: bytes, v: bytes, bits: int) -> bytes:
    """KDFa (Part 1, 8.4.10.2)."""
    octets = b""
    counter = 0
    while len(octets) * 8 < bits:
        counter += 1
        message = struct.pack(">I", counter) + label + b"\0" + u + v + struct.pack(">I", bits)
        octets += hmac.digest(key, message, HASH_NAMES[ALG(alg)])
    return octets[: bits // 8]


class Peer(Protocol):
    """One powered TPM."""

    def execute(self, command: bytes) -> bytes:
        """The response to one command."""

    def set_locality(self, locality: int) -> None:
        """Use this locality from now on."""

    def hash_event(self, *pieces: bytes) -> None:
        """An event of the H-CRTM or D-RTM."""

    def reset(self) -> None:
        """_TPM_Init, without a TPM2_Shutdown."""

    def close(self) -> None:
        """Give it up."""


class HostClock:
    """Milliseconds that pass only when told."""

    def __init__(self) -> None:
        self.milliseconds = 0

    def __call__(self) -> int:
        return self.milliseconds


class EnginePeer:
    """The engine in this process, with what a worker would keep for it.

    After every command, whatever the test is about: a failed one has changed nothing but what
    counts authorization failures, and what is permanent has been given to the host to store.
    """

    def __init__(self, engine: Engine, clock: HostClock) -> None:
        self.engine = engine
        self.clock = clock
        self.stored = self._last_stored = engine.permanent()
        self.locality = 0
        self.engine.power_on()

    @classmethod
    def manufactured(
        cls,
        banks: Sequence[str] = ("sha1", "sha256", "sha384", "sha512"),
        entropy: Callable[[int], bytes] = os.urandom,
        profile: str = "default-v1",
    ) -> "EnginePeer":
        """A new TPM."""
        clock = HostClock()
        return cls(Engine.manufacture(profile, banks, entropy, clock), clock)

    @classmethod
    def restored(cls, permanent: bytes) -> "EnginePeer":
        """A TPM from its permanent state."""
        clock = HostClock()
        return cls(Engine.restore(permanent, os.urandom, clock), clock)

    def execute(self, command: bytes) -> bytes:
        before = encoded_states(self.engine)
        reply = self.engine.execute(command, self.locality)
        self._store(reply)
        assert self.engine.defect is None, self.engine.defect
        if reply.response[6:10] != bytes(4):
            assert unchanged(before, self.engine), f"changed by failed {command.hex()}"
        assert self._is_stored(self.engine.permanent()), f"not stored by {command.hex()}"
        return reply.response

    def _store(self, reply: Reply) -> None:
        if reply.nv is not None:
            self.stored = self._last_stored = reply.nv

    def _is_stored(self, permanent: bytes) -> bool:
        last = self._last_stored
        return permanent == last or durable_state(permanent) == durable_state(last)

    def set_locality(self, locality: int) -> None:
        self.locality = locality

    def hash_event(self, *pieces: bytes) -> None:
        """_TPM_Hash_Start, _TPM_Hash_Data for each piece, _TPM_Hash_End."""
        self.engine.hash_start()
        for piece in pieces:
            self.engine.hash_data(piece)
        self._store(self.engine.hash_end())

    def reset(self) -> None:
        """A power cycle: what was not stored is gone."""
        self.engine.power_off()
        self.engine = Engine.restore(self.stored, os.urandom, self.clock)
        self._last_stored = self.stored
        self.engine.power_on()

    def keep(self) -> None:
        """Store the state as it is, after a test has changed it by hand."""
        self.stored = self._last_stored = self.engine.permanent()

    def carry_over(self) -> None:
        """Go on in another engine, by both states, as after a migration."""
        volatile = self.engine.volatile()
        self.stored = self._last_stored = self.engine.permanent()
        self.engine.power_off()
        self.engine = Engine.restore(self.stored, os.urandom, self.clock)
        self.engine.power_on(volatile)

    def close(self) -> None:
        self.engine.power_off()


_GUARDING = ("da_used", "orderly", "failure_timer", "lockout_timer")
"""What a failed authorization may change, beside the counters and PIN indices."""
_PIN_TYPES = (8, 9)
_NV_ATTRIBUTES = slice(6, 10)
_ORDERLY = 1 << 26


def encoded_states(engine: Engine) -> tuple[bytes, bytes]:
    """Permanent and volatile state, as octets."""
    return engine.permanent(), engine.volatile()


def unchanged(before: tuple[bytes, bytes], engine: Engine) -> bool:
    """Whether an engine still has the states that it had, as far as `engine_state` looks.

    What has the same octets is not read: that takes twenty times as long as to write it.
    """
    now = encoded_states(engine)
    return now == before or _read_states(*now) == _read_states(*before)


def engine_state(engine: Engine) -> dict[str, Any]:
    """All of an engine's state but clocks and what counts authorization failures."""
    return _read_states(*encoded_states(engine))


def _read_states(encoded_permanent: bytes, encoded_volatile: bytes) -> dict[str, Any]:
    state: dict[str, Any] = states.read(encoded_permanent) | states.read(encoded_volatile)
    permanent = state["permanent"]
    for name in (*_GUARDING, "clock", "clock_safe"):
        del permanent[name]
    for name in ("failed_tries", "lockout_auth_enabled"):
        del permanent["dictionary_attack"][name]
    for index in (*permanent["nv"].values(), *state["orderly"]["nv"].values()):
        if _nv_attributes(index) >> 4 & 0xF in _PIN_TYPES:
            del index["data"]
    del state["volatile"]["time"], state["orderly"]["clock"], state["orderly"]["clock_safe"]
    return state


def durable_state(permanent: bytes) -> dict[str, Any]:
    """What has to survive a power cycle of an encoded permanent state, whatever happens."""
    state: dict[str, Any] = states.read(permanent)["permanent"]
    del state["clock"], state["clock_adjustment"], state["pcr_allocation"]
    state["nv"] = {
        handle: index
        for handle, index in state["nv"].items()
        if not _nv_attributes(index) & _ORDERLY
    }
    return state


def _nv_attributes(index: dict[str, bytes]) -> int:
    return int.from_bytes(index["public"][_NV_ATTRIBUTES])


class SwtpmPeer:
    """A real swtpm; its state directory is `<directory>/<name>.state`."""

    def __init__(self, directory: Path, name: str = "peer") -> None:
        self.instance = SwtpmInstance(directory, name, data_socket=False)
        self._control = Control(self.instance.control)
        self._control.power_on()
        self._data: Data = self._control.data_channel()

    def execute(self, command: bytes) -> bytes:
        """As a driver does: a TPM that asks for it gets the command again.

        libtpms does so when a DA-protected object is used for the first time after a startup.
        """
        response = self._data.execute(command)
        while response[6:10] == RC.RETRY.to_bytes(4):
            response = self._data.execute(command)
        return response

    def set_locality(self, locality: int) -> None:
        self._control.command(CMD_SET_LOCALITY, bytes((locality,)))

    def hash_event(self, *pieces: bytes) -> None:
        self._control.command(CMD_HASH_START)
        for piece in pieces:
            self._control.command(CMD_HASH_DATA, len(piece).to_bytes(4) + piece)
        self._control.command(CMD_HASH_END)

    def reset(self) -> None:
        # swtpm itself sends TPM2_Shutdown(STATE or CLEAR) if the last command was none.
        self._control.command(CMD_INIT, bytes(4))

    def close(self) -> None:
        self._data.close()
        self._control.close()
        self.instance.close()


@dataclass
class Password:
    """A password authorization; `attributes` as sent."""

    value: bytes = b""
    attributes: int = CONTINUE


@dataclass
class Session:
    """A started session and what the caller knows of it.

    `auth_value` is that of the entity it authorizes in the next command, if it is to be proven.
    """

    handle: int
    alg: int
    nonce_tpm: bytes
    key: bytes = field(repr=False)
    attributes: int = CONTINUE
    auth_value: bytes = b""
    next_auth_value: bytes | None = None
    """What `auth_value` is once the command has changed it or deleted the entity."""
    password: bytes | None = None
    """Sent in place of an HMAC (policies with PolicyPassword)."""
    aes_bits: int = 0
    response_attributes: int = 0
    always_proves: bool = False
    """Send an HMAC even if its key has no octets, as tpm2-tss does."""
    tamper: bool = False
    """Send a wrong HMAC."""
    proves_auth_value: bool = True
    """`auth_value` is in the HMAC's key; not if the session is bound to what it authorizes."""

    @property
    def hmac_key(self) -> bytes:
        """sessionKey and, where it has to be proven, authValue."""
        return self.key + (self.auth_value if self.proves_auth_value else b"")


@dataclass(frozen=True)
class Result:
    """`rc` is the whole 32-bit response code; `parameters` the response's parameter area."""

    rc: int
    handle: int | None = None
    parameters: bytes = b""

    def sized(self, number: int = 0) -> bytes:
        """The `number`-th of the TPM2Bs that the parameters begin with."""
        rest = self.parameters
        for _ in range(number):
            rest = rest[2 + int.from_bytes(rest[:2]) :]
        return rest[2 : 2 + int.from_bytes(rest[:2])]


class Tester:
    """Sends commands to a peer and checks what can be checked of every response."""

    __test__ = False

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.names: dict[int, bytes] = {}
        """Names of handles for cpHash; others are asked for, or are their handles."""
        self.sent = b""
        """The octets of the last command of `run`."""

    def startup(self, kind: int = SU.CLEAR) -> int:
        """TPM2_Startup; its response code."""
        return self.run(CC.STARTUP, params=kind.to_bytes(2)).rc

    def reset(self) -> None:
        """A power cycle and TPM2_Startup(CLEAR)."""
        self.names.clear()
        self.peer.reset()
        assert self.startup() == 0

    def raw(self, command: bytes) -> bytes:
        """Send octets as they are."""
        return self.peer.execute(command)

    def run(
        self,
        code: int,
        handles: Sequence[int] = (),
        params: bytes = b"",
        auths: Sequence[Password | Session] = (),
        *,
        tag: int | None = None,
    ) -> Result:
        """Run one command. HMACs of the response are checked; a wrong one is an AssertionError."""
        area = b"".join(handle.to_bytes(4) for handle in handles)
        nonces = [os.urandom(16) if isinstance(auth, Session) else b"" for auth in auths]
        for auth, nonce in zip(auths, nonces, strict=True):
            if isinstance(auth, Session) and auth.attributes & DECRYPT:
                params = self._crypt(auth, nonce, auth.nonce_tpm, params, encrypt=True)
        sessions, sent = b"", []
        for number, (auth, nonce) in enumerate(zip(auths, nonces, strict=True)):
            proof = self._proof(code, handles, params, auths, nonces, number)
            if isinstance(auth, Session) and auth.tamper:
                proof = bytes(len(proof) or 32)
            handle = auth.handle if isinstance(auth, Session) else RH.RS_PW
            sessions += struct.pack(">I", handle) + sized(nonce) + bytes((auth.attributes,))
            sessions += sized(proof)
            sent.append(bool(proof))
        body = area + (len(sessions).to_bytes(4) + sessions if auths else b"") + params
        tag = tag or (0x8002 if auths else 0x8001)
        self.sent = struct.pack(">HII", tag, 10 + len(body), code) + body
        response = self.peer.execute(self.sent)
        answer_tag, size, rc = struct.unpack_from(">HII", response)
        assert size == len(response)
        if rc:
            assert size == 10
            return Result(rc)
        assert answer_tag == tag
        return self._parse(code, response[10:], auths, nonces, sent)

    def _parse(
        self,
        code: int,
        rest: bytes,
        auths: Sequence[Password | Session],
        nonces: Sequence[bytes],
        sent: Sequence[bool],
    ) -> Result:
        handle = None
        if code in _RESPONSE_HANDLE:
            handle, rest = int.from_bytes(rest[:4]), rest[4:]
        if not auths:
            return Result(0, handle, rest)
        end = 4 + int.from_bytes(rest[:4])
        parameters, rest = rest[4:end], rest[end:]
        for auth, nonce, sent_proof in zip(auths, nonces, sent, strict=True):
            nonce_tpm, rest = _take(rest)
            attributes, rest = rest[0], rest[1:]
            proof, rest = _take(rest)
            if isinstance(auth, Password):
                assert (nonce_tpm, attributes, proof) == (b"", CONTINUE, b"")
                continue
            auth.nonce_tpm, auth.response_attributes = nonce_tpm, attributes
            if auth.next_auth_value is not None:
                auth.auth_value, auth.next_auth_value = auth.next_auth_value, None
            key = auth.hmac_key
            if auth.password is not None or not (key or sent_proof):
                assert proof == b""
            else:
                rp_hash = digest(auth.alg, bytes(4), code.to_bytes(4), parameters)
                message = rp_hash + nonce_tpm + nonce + bytes((attributes,))
                assert proof == hmac.digest(key, message, HASH_NAMES[ALG(auth.alg)])
        assert not rest
        for auth, nonce in zip(auths, nonces, strict=True):
            if isinstance(auth, Session) and auth.attributes & ENCRYPT:
                parameters = self._crypt(auth, auth.nonce_tpm, nonce, parameters, encrypt=False)
        return Result(0, handle, parameters)

    def _proof(
        self,
        code: int,
        handles: Sequence[int],
        params: bytes,
        auths: Sequence[Password | Session],
        nonces: Sequence[bytes],
        number: int,
    ) -> bytes:
        auth = auths[number]
        if isinstance(auth, Password):
            return auth.value
        if auth.password is not None:
            return auth.password
        key = auth.hmac_key
        if not (key or auth.always_proves):
            return b""
        names = b"".join(self.name(handle) for handle in handles)
        others = b""
        if number == 0 and handles:  # of commands that authorize one
            seen = [auth]
            for use in (DECRYPT, ENCRYPT):
                for other in auths:
                    if isinstance(other, Session) and other.attributes & use and other not in seen:
                        others += other.nonce_tpm
                        seen.append(other)
        message = digest(auth.alg, code.to_bytes(4), names, params) + nonces[number]
        message += auth.nonce_tpm + others + bytes((auth.attributes,))
        return hmac.digest(key, message, HASH_NAMES[ALG(auth.alg)])

    def _crypt(
        self, session: Session, newer: bytes, older: bytes, params: bytes, *, encrypt: bool
    ) -> bytes:
        key = session.key + session.auth_value
        end = 2 + int.from_bytes(params[:2])
        data = params[2:end]
        if session.aes_bits:
            stream = kdfa(session.alg, key, b"CFB", newer, older, session.aes_bits + 128)
            size = session.aes_bits // 8
            cipher = Cipher(AES(stream[:size]), CFB(stream[size:]))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            data = context.update(data) + context.finalize()
        else:
            mask = kdfa(session.alg, key, b"XOR", newer, older, len(data) * 8)
            data = bytes(a ^ b for a, b in zip(data, mask, strict=True))
        return params[:2] + data + params[end:]

    def name(self, handle: int) -> bytes:
        """The Name of an entity, asked from the TPM where it is not the handle itself."""
        if handle in self.names:
            return self.names[handle]
        kind = handle >> 24
        if kind == 0x01:
            return self.run(CC.NV_READ_PUBLIC, [handle]).sized(1)
        if kind in (0x80, 0x81):
            answer = self.run(CC.READ_PUBLIC, [handle])
            return answer.sized(1) if answer.rc == 0 else b""
        return handle.to_bytes(4)

    def start_session(
        self,
        kind: int = SE.HMAC,
        *,
        alg: int = ALG.SHA256,
        bind: int = RH.NULL,
        bind_auth: bytes = b"",
        salt: bytes = b"",
        salt_key: int = RH.NULL,
        encrypted_salt: bytes = b"",
        aes_bits: int = 0,
        xor: bool = False,
    ) -> Session:
        """TPM2_StartAuthSession, which has to succeed."""
        nonce = os.urandom(16)
        symmetric = ALG.NULL.to_bytes(2)
        if aes_bits:
            symmetric = struct.pack(">HHH", ALG.AES, aes_bits, ALG.CFB)
        elif xor:
            symmetric = struct.pack(">HH", ALG.XOR, alg)
        params = sized(nonce) + sized(encrypted_salt) + bytes((kind,)) + symmetric
        started = self.run(CC.START_AUTH_SESSION, [salt_key, bind], params + alg.to_bytes(2))
        assert started.rc == 0, hex(started.rc)
        assert started.handle is not None
        nonce_tpm = started.sized()
        key = b""
        if bind != RH.NULL or salt_key != RH.NULL:
            bits = len(digest(alg)) * 8
            key = kdfa(alg, bind_auth + salt, b"ATH", nonce_tpm, nonce, bits)
        return Session(started.handle, alg, nonce_tpm, key, aes_bits=aes_bits)


def _take(rest: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(rest[:2])
    return rest[2:end], rest[end:]
