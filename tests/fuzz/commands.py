"""One valid command for each that is implemented, as octets, for the TPM of `tpm.furnished`.

Each stands alone: it succeeds in that state, or is answered as EXCEPTIONS says. Where a command
needs what another one has answered, that other one is run before, in an engine of its own.
"""

import struct
from collections.abc import Callable
from functools import cache

from tests.fuzz.tpm import (
    APPROVED,
    BITS,
    CERTIFYING_KEY,
    CIPHER_KEY,
    COMMITTING_KEY,
    COUNTER,
    EXCHANGE_KEY,
    EXTENDED,
    HMAC_KEY,
    HMAC_SESSION,
    KEM_KEY,
    LOCKABLE,
    MLDSA_KEY,
    MOVABLE_KEY,
    POLICY_SESSION,
    RSA_KEY,
    SEALED,
    SEQUENCE,
    SIGNING_KEY,
    SIGNING_TEMPLATE,
    STORAGE_KEY,
    furnished,
    restored,
)
from tests.tpm import areas
from tests.tpm.commands.nv_area import INDEX, OWNER_RW, Area
from tests.tpm.commands.test_certify_x509 import DIGITAL_SIGNATURE, ECDSA, RSASSA, partial
from tests.tpm.harness import Result, digest, sized
from tests.tpm.raw import authorization, framed, with_sessions
from vtpmd.tpm.command import COMMANDS
from vtpmd.tpm.rc import RC
from vtpmd.tpm.wire.constants import ALG, CAP, CC, ECC_CURVE, EO, PT, RH, SE, ST

_OF_FIRST_PARAMETER, _OF_THIRD_PARAMETER, _IN_FIRST_SESSION = 0x140, 0x340, 0x900
_OF_FIRST_HANDLE, _OF_SECOND_HANDLE = 0x100, 0x200
NEW_INDEX, ACT = INDEX + 9, 0x40000110
_PCRS = struct.pack(">IHB", 1, ALG.SHA256, 3) + b"\xff\xff\xff"
_POLICY = sized(bytes(32)) + areas.words(ALG.SHA256)
_HMAC = areas.words(ALG.HMAC, ALG.SHA256)
_NONE, _SHA256, _EMPTY = areas.NONE, areas.words(ALG.SHA256), sized(b"")
_P256 = areas.words(ECC_CURVE.NIST_P256)
_KDF2 = areas.words(ALG.KDF2, ALG.SHA256)
_TICKET_SIZE = 2 + 4 + 2 + 64
_NO_TICKET = struct.pack(">HIH", ST.HASHCHECK, RH.NULL, 0)
_NAME = _SHA256 + bytes(32)
_NO_POINT = sized(areas.words(0, 0))
_MLDSA_SIGNATURE = areas.words(ALG.MLDSA) + sized(bytes(2420))

EXCEPTIONS: dict[int, int] = {
    CC.STARTUP: RC.INITIALIZE,  # it has been started
    CC.PP_COMMANDS: RC.PP | _IN_FIRST_SESSION,  # nobody can press a button of a virtual machine
    CC.NV_CHANGE_AUTH: RC.AUTH_TYPE,  # it wants a policy
    CC.NV_UNDEFINE_SPACE_SPECIAL: RC.AUTH_TYPE,
    CC.POLICY_DUPLICATION_SELECT: RC.COMMAND_CODE,  # the session has another assertion
    CC.EVENT_SEQUENCE_COMPLETE: RC.MODE | _OF_SECOND_HANDLE,  # it is no event sequence
    CC.SET_CAPABILITY: RC.VALUE | _OF_FIRST_PARAMETER,  # there are none that can be set
    CC.SIGN_SEQUENCE_COMPLETE: RC.MODE | _OF_FIRST_HANDLE,  # it is a hash sequence
    CC.VERIFY_SEQUENCE_COMPLETE: RC.MODE | _OF_FIRST_HANDLE,
    CC.VERIFY_DIGEST_SIGNATURE: RC.SIGNATURE | _OF_THIRD_PARAMETER,  # a good one is never the same
}
"""Commands that need a state in which most others do not work, and what they are answered."""

Ask = Callable[..., Result]
"""Runs a command by its code, handles and parameters."""
Parts = tuple[tuple[int, ...], bytes]
"""Handles and parameters."""


@cache
def valid() -> dict[int, bytes]:
    """A command for each code."""
    made = {code: _command(code, *parts) for code, parts in _ALONE.items()}
    made |= {code: _command(code, *make(_asking())) for code, make in _WITH_ANSWERS.items()}
    return dict(sorted(made.items()))


def _command(code: int, handles: tuple[int, ...] = (), parameters: bytes = b"") -> bytes:
    area = b"".join(handle.to_bytes(4) for handle in handles)
    if code == CC.DUPLICATE:
        uses = [authorization(POLICY_SESSION, attributes=1)]
    else:
        uses = [authorization()] * COMMANDS[code].authorizations
    return with_sessions(code, area, uses, parameters) if uses else framed(code, area + parameters)


def _asking() -> Ask:
    """A TPM of its own; whatever it is asked has to succeed."""
    engine = restored(*furnished())

    def ask(code: int, handles: tuple[int, ...] = (), parameters: bytes = b"") -> Result:
        response = engine.execute(_command(code, handles, parameters), 0).response
        tag, _, rc = struct.unpack_from(">HII", response)
        assert rc == 0, f"{CC(code).name}: {rc:#x}"
        rest = response[14 if COMMANDS[code].response_handle else 10 :]
        if tag == ST.SESSIONS:
            rest = rest[4 : 4 + int.from_bytes(rest[:4])]
        return Result(rc, parameters=rest)

    return ask


def _name(ask: Ask, handle: int) -> bytes:
    return ask(CC.READ_PUBLIC, (handle,)).sized(1)


def _load(ask: Ask) -> Parts:
    parameters = areas.create_parameters(areas.sealed(), data=b"data")
    made = ask(CC.CREATE, (STORAGE_KEY,), parameters)
    return (STORAGE_KEY,), sized(made.sized()) + sized(made.sized(1))


def _activate_credential(ask: Ask) -> Parts:
    name = _name(ask, SIGNING_KEY)
    made = ask(CC.MAKE_CREDENTIAL, (STORAGE_KEY,), sized(b"credential") + sized(name))
    return (SIGNING_KEY, STORAGE_KEY), sized(made.sized()) + sized(made.sized(1))


def _rewrap(ask: Ask) -> Parts:
    duplicate = ask(CC.DUPLICATE, (MOVABLE_KEY, STORAGE_KEY), _EMPTY + _NONE)
    parts = duplicate.sized(1), _name(ask, MOVABLE_KEY), duplicate.sized(2)
    return (STORAGE_KEY, STORAGE_KEY), b"".join(map(sized, parts))


def _import(ask: Ask) -> Parts:
    duplicate = ask(CC.DUPLICATE, (MOVABLE_KEY, STORAGE_KEY), _EMPTY + _NONE)
    public = ask(CC.READ_PUBLIC, (MOVABLE_KEY,)).sized()
    parts = b"", public, duplicate.sized(1), duplicate.sized(2)
    return (STORAGE_KEY,), b"".join(map(sized, parts)) + _NONE


def _rsa_decrypt(ask: Ask) -> Parts:
    scheme = areas.words(ALG.RSAES)
    made = ask(CC.RSA_ENCRYPT, (RSA_KEY,), sized(b"message") + scheme + _EMPTY)
    return (RSA_KEY,), sized(made.sized()) + scheme + _EMPTY


def _context_load(ask: Ask) -> Parts:
    return (), ask(CC.CONTEXT_SAVE, (SIGNING_KEY,)).parameters


def _ecdh_zgen(ask: Ask) -> Parts:
    return (EXCHANGE_KEY,), sized(ask(CC.ECDH_KEY_GEN, (EXCHANGE_KEY,)).sized(1))


def _zgen_2phase(ask: Ask) -> Parts:
    point = sized(ask(CC.ECDH_KEY_GEN, (EXCHANGE_KEY,)).sized(1))
    return (EXCHANGE_KEY,), point * 2 + areas.words(ALG.ECDH, 0)


def _ecc_decrypt(ask: Ask) -> Parts:
    made = ask(CC.ECC_ENCRYPT, (EXCHANGE_KEY,), sized(b"message") + _KDF2)
    return (EXCHANGE_KEY,), made.parameters + _KDF2


def _signature(ask: Ask, hashed: bytes) -> bytes:
    """By RSA, which signs the same with the same octets."""
    return ask(CC.SIGN, (RSA_KEY,), sized(hashed) + RSASSA + _NO_TICKET).parameters


def _verify_signature(ask: Ask, hashed: bytes = bytes(32)) -> Parts:
    return (RSA_KEY,), sized(hashed) + _signature(ask, hashed)


def _policy_signed(ask: Ask, expiration: bytes = bytes(4)) -> Parts:
    signature = _signature(ask, digest(ALG.SHA256, expiration))
    return (RSA_KEY, POLICY_SESSION), _EMPTY * 3 + expiration + signature


def _policy_ticket(ask: Ask) -> Parts:
    signed = ask(CC.POLICY_SIGNED, *_policy_signed(ask, (-1 << 31).to_bytes(4, signed=True)))
    timeout = sized(signed.sized())
    ticket = signed.parameters[len(timeout) :]
    return (POLICY_SESSION,), timeout + _EMPTY * 2 + sized(_name(ask, RSA_KEY)) + ticket


def _policy_authorize(ask: Ask) -> Parts:
    approved = ask(CC.POLICY_GET_DIGEST, (POLICY_SESSION,)).sized()
    ticket = ask(CC.VERIFY_SIGNATURE, *_verify_signature(ask, digest(ALG.SHA256, approved)))
    name = _name(ask, RSA_KEY)
    return (POLICY_SESSION,), sized(approved) + _EMPTY + sized(name) + ticket.parameters


def _policy_or(ask: Ask) -> Parts:
    reached = ask(CC.POLICY_GET_DIGEST, (POLICY_SESSION,)).sized()
    return (POLICY_SESSION,), (2).to_bytes(4) + sized(reached) + sized(bytes(32))


def _certify_creation(ask: Ask) -> Parts:
    made = ask(CC.CREATE_PRIMARY, (RH.OWNER,), areas.create_parameters(SIGNING_TEMPLATE))
    # Behind three sized fields is the ticket, and behind that the Name: neither has another size.
    ticket = made.parameters[-len(sized(_NAME)) - _TICKET_SIZE :][:_TICKET_SIZE]
    return (SIGNING_KEY, SIGNING_KEY), _EMPTY + sized(made.sized(2)) + _NONE + ticket


_WITH_ANSWERS: dict[int, Callable[[Ask], Parts]] = {
    CC.LOAD: _load,
    CC.ACTIVATE_CREDENTIAL: _activate_credential,
    CC.REWRAP: _rewrap,
    CC.IMPORT: _import,
    CC.RSA_DECRYPT: _rsa_decrypt,
    CC.CONTEXT_LOAD: _context_load,
    CC.ECDH_ZGEN: _ecdh_zgen,
    CC.ZGEN_2PHASE: _zgen_2phase,
    CC.ECC_DECRYPT: _ecc_decrypt,
    CC.VERIFY_SIGNATURE: _verify_signature,
    CC.POLICY_SIGNED: _policy_signed,
    CC.POLICY_TICKET: _policy_ticket,
    CC.POLICY_AUTHORIZE: _policy_authorize,
    CC.POLICY_OR: _policy_or,
    CC.CERTIFY_CREATION: _certify_creation,
}

_IN_POLICY = (POLICY_SESSION,)
_ALONE: dict[int, Parts] = {
    CC.NV_UNDEFINE_SPACE_SPECIAL: ((INDEX, RH.PLATFORM), b""),
    CC.EVICT_CONTROL: ((RH.OWNER, SIGNING_KEY), (0x81000020).to_bytes(4)),
    CC.HIERARCHY_CONTROL: ((RH.OWNER,), RH.OWNER.to_bytes(4) + b"\0"),
    CC.NV_UNDEFINE_SPACE: ((RH.OWNER, INDEX), b""),
    CC.CHANGE_EPS: ((RH.PLATFORM,), b""),
    CC.CHANGE_PPS: ((RH.PLATFORM,), b""),
    CC.CLEAR: ((RH.LOCKOUT,), b""),
    CC.CLEAR_CONTROL: ((RH.LOCKOUT,), b"\1"),
    CC.CLOCK_SET: ((RH.OWNER,), (1 << 20).to_bytes(8)),
    CC.HIERARCHY_CHANGE_AUTH: ((RH.OWNER,), sized(b"new")),
    CC.NV_DEFINE_SPACE: (
        (RH.OWNER,),
        sized(b"auth") + sized(Area(OWNER_RW, index=NEW_INDEX).marshal()),
    ),
    CC.PCR_ALLOCATE: ((RH.PLATFORM,), _PCRS),
    CC.PCR_SET_AUTH_POLICY: ((RH.PLATFORM,), _POLICY + (20).to_bytes(4)),
    CC.PP_COMMANDS: ((RH.PLATFORM,), bytes(8)),
    CC.SET_PRIMARY_POLICY: ((RH.OWNER,), _POLICY),
    CC.CLOCK_RATE_ADJUST: ((RH.OWNER,), b"\1"),
    CC.CREATE_PRIMARY: ((RH.OWNER,), areas.create_parameters(areas.storage(), pcrs=_PCRS)),
    CC.NV_GLOBAL_WRITE_LOCK: ((RH.OWNER,), b""),
    CC.GET_COMMAND_AUDIT_DIGEST: ((RH.ENDORSEMENT, SIGNING_KEY), sized(b"nonce") + _NONE),
    CC.NV_INCREMENT: ((RH.OWNER, COUNTER), b""),
    CC.NV_SET_BITS: ((RH.OWNER, BITS), (5).to_bytes(8)),
    CC.NV_EXTEND: ((RH.OWNER, EXTENDED), sized(b"data")),
    CC.NV_WRITE: ((RH.OWNER, INDEX), sized(b"data") + b"\0\2"),
    CC.NV_WRITE_LOCK: ((RH.OWNER, LOCKABLE), b""),
    CC.DICTIONARY_ATTACK_LOCK_RESET: ((RH.LOCKOUT,), b""),
    CC.DICTIONARY_ATTACK_PARAMETERS: ((RH.LOCKOUT,), struct.pack(">III", 5, 60, 60)),
    CC.NV_CHANGE_AUTH: ((INDEX,), sized(b"new")),
    CC.PCR_EVENT: ((16,), sized(b"event")),
    CC.PCR_RESET: ((16,), b""),
    CC.SEQUENCE_COMPLETE: ((SEQUENCE,), sized(b"data") + RH.NULL.to_bytes(4)),
    CC.SET_ALGORITHM_SET: ((RH.PLATFORM,), bytes(4)),
    CC.SET_COMMAND_CODE_AUDIT_STATUS: (
        (RH.OWNER,),
        _NONE + struct.pack(">III", 1, CC.PCR_EXTEND, 0),
    ),
    CC.INCREMENTAL_SELF_TEST: ((), (2).to_bytes(4) + areas.words(ALG.SHA256, ALG.AES)),
    CC.SELF_TEST: ((), b"\1"),
    CC.STARTUP: ((), b"\0\0"),
    CC.SHUTDOWN: ((), b"\0\1"),
    CC.STIR_RANDOM: ((), sized(bytes(16))),
    CC.CERTIFY: ((HMAC_KEY, SIGNING_KEY), sized(b"nonce") + _NONE),
    CC.POLICY_NV: ((RH.OWNER, INDEX, POLICY_SESSION), sized(bytes(8)) + bytes(4)),
    CC.DUPLICATE: ((MOVABLE_KEY, RH.NULL), _EMPTY + _NONE),
    CC.GET_TIME: ((RH.ENDORSEMENT, SIGNING_KEY), sized(b"nonce") + _NONE),
    CC.GET_SESSION_AUDIT_DIGEST: (
        (RH.ENDORSEMENT, SIGNING_KEY, HMAC_SESSION),
        sized(b"nonce") + _NONE,
    ),
    CC.NV_READ: ((RH.OWNER, INDEX), b"\0\4\0\2"),
    CC.NV_READ_LOCK: ((RH.OWNER, LOCKABLE), b""),
    CC.OBJECT_CHANGE_AUTH: ((SEALED, STORAGE_KEY), sized(b"new")),
    CC.POLICY_SECRET: ((RH.OWNER, POLICY_SESSION), _EMPTY * 3 + bytes(4)),
    CC.CREATE: ((STORAGE_KEY,), areas.create_parameters(areas.sealed(), b"auth", b"data")),
    CC.HMAC: ((HMAC_KEY,), sized(b"data") + _SHA256),
    CC.QUOTE: ((SIGNING_KEY,), sized(b"nonce") + _NONE + _PCRS),
    CC.HMAC_START: ((HMAC_KEY,), sized(b"auth") + _SHA256),
    CC.SEQUENCE_UPDATE: ((SEQUENCE,), sized(b"data")),
    CC.SIGN: ((SIGNING_KEY,), sized(bytes(32)) + _NONE + _NO_TICKET),
    CC.UNSEAL: ((SEALED,), b""),
    CC.CONTEXT_SAVE: ((SIGNING_KEY,), b""),
    CC.ECDH_KEY_GEN: ((EXCHANGE_KEY,), b""),
    CC.ENCRYPT_DECRYPT: ((CIPHER_KEY,), b"\0" + _NONE + sized(bytes(16)) + sized(b"data")),
    CC.ENCRYPT_DECRYPT2: ((CIPHER_KEY,), sized(b"data") + b"\0" + _NONE + sized(bytes(16))),
    CC.FLUSH_CONTEXT: ((), SIGNING_KEY.to_bytes(4)),
    CC.LOAD_EXTERNAL: (
        (),
        _EMPTY
        + sized(areas.keyedhash(areas.USER_AUTH | areas.SIGN, scheme=_HMAC, unique=bytes(32)))
        + RH.NULL.to_bytes(4),
    ),
    CC.MAKE_CREDENTIAL: ((STORAGE_KEY,), sized(b"credential") + sized(_NAME)),
    CC.NV_READ_PUBLIC: ((INDEX,), b""),
    CC.NV_READ_PUBLIC2: ((INDEX,), b""),
    CC.POLICY_AUTH_VALUE: (_IN_POLICY, b""),
    CC.POLICY_COMMAND_CODE: (_IN_POLICY, CC.DUPLICATE.to_bytes(4)),
    CC.POLICY_COUNTER_TIMER: (_IN_POLICY, sized(bytes(4)) + struct.pack(">HH", 16, EO.UNSIGNED_GE)),
    CC.POLICY_CP_HASH: (_IN_POLICY, sized(bytes(32))),
    CC.POLICY_LOCALITY: (_IN_POLICY, b"\1"),
    CC.POLICY_NAME_HASH: (_IN_POLICY, sized(bytes(32))),
    CC.POLICY_PCR: (_IN_POLICY, _EMPTY + _PCRS),
    CC.POLICY_RESTART: (_IN_POLICY, b""),
    CC.POLICY_PHYSICAL_PRESENCE: (_IN_POLICY, b""),
    CC.POLICY_DUPLICATION_SELECT: (_IN_POLICY, sized(_NAME) * 2 + b"\1"),
    CC.POLICY_GET_DIGEST: (_IN_POLICY, b""),
    CC.POLICY_PASSWORD: (_IN_POLICY, b""),
    CC.POLICY_NV_WRITTEN: (_IN_POLICY, b"\1"),
    CC.POLICY_TEMPLATE: (_IN_POLICY, sized(bytes(32))),
    CC.POLICY_AUTHORIZE_NV: ((RH.OWNER, APPROVED, POLICY_SESSION), b""),
    CC.POLICY_CAPABILITY: (
        _IN_POLICY,
        sized((185).to_bytes(4)) + struct.pack(">HHII", 4, EO.EQ, CAP.TPM_PROPERTIES, PT.REVISION),
    ),
    CC.POLICY_PARAMETERS: (_IN_POLICY, sized(bytes(32))),
    CC.POLICY_TRANSPORT_SPDM: (_IN_POLICY, sized(_NAME) * 2),
    CC.READ_PUBLIC: ((SIGNING_KEY,), b""),
    CC.RSA_ENCRYPT: ((RSA_KEY,), sized(b"message") + areas.words(ALG.OAEP, ALG.SHA256) + _EMPTY),
    CC.START_AUTH_SESSION: (
        (RH.NULL, RH.OWNER),
        sized(bytes(16)) + _EMPTY + bytes((SE.HMAC,)) + areas.AES_128_CFB + _SHA256,
    ),
    CC.ECC_PARAMETERS: ((), _P256),
    CC.GET_CAPABILITY: ((), struct.pack(">III", CAP.HANDLES, 0x81000000, 4)),
    CC.GET_RANDOM: ((), b"\0\x10"),
    CC.GET_TEST_RESULT: ((), b""),
    CC.HASH: ((), sized(b"data") + _SHA256 + RH.OWNER.to_bytes(4)),
    CC.PCR_READ: ((), _PCRS),
    CC.READ_CLOCK: ((), b""),
    CC.PCR_EXTEND: ((16,), (1).to_bytes(4) + _SHA256 + bytes(32)),
    CC.PCR_SET_AUTH_VALUE: ((20,), sized(b"auth")),
    CC.NV_CERTIFY: ((SIGNING_KEY, RH.OWNER, INDEX), sized(b"nonce") + _NONE + b"\0\4\0\2"),
    CC.EVENT_SEQUENCE_COMPLETE: ((16, SEQUENCE), sized(b"data")),
    CC.HASH_SEQUENCE_START: ((), sized(b"auth") + _SHA256),
    CC.TEST_PARMS: ((), areas.words(ALG.ECC) + _NONE * 2 + _P256 + _NONE),
    CC.COMMIT: ((COMMITTING_KEY,), _NO_POINT + areas.words(0, 0)),
    CC.EC_EPHEMERAL: ((), _P256),
    CC.CREATE_LOADED: (
        (STORAGE_KEY,),
        areas.sensitive_create(b"auth", b"data") + sized(areas.sealed()),
    ),
    CC.CERTIFY_X509: (
        (RSA_KEY, CERTIFYING_KEY),
        _EMPTY + ECDSA + sized(partial(DIGITAL_SIGNATURE)),
    ),
    CC.ACT_SET_TIMEOUT: ((ACT,), (60).to_bytes(4)),
    CC.ECC_ENCRYPT: ((EXCHANGE_KEY,), sized(b"message") + _KDF2),
    CC.NV_DEFINE_SPACE2: (
        (RH.OWNER,),
        sized(b"auth") + sized(b"\1" + Area(OWNER_RW, index=NEW_INDEX).marshal()),
    ),
    CC.SET_CAPABILITY: ((RH.PLATFORM,), sized(CAP.TPM_PROPERTIES.to_bytes(4))),
    CC.READ_ONLY_CONTROL: ((RH.PLATFORM,), b"\1"),
    CC.VENDOR_TCG_TEST: ((), sized(b"data")),
    CC.ENCAPSULATE: ((KEM_KEY,), b""),
    CC.DECAPSULATE: ((KEM_KEY,), sized(bytes(1088))),
    CC.SIGN_SEQUENCE_START: ((MLDSA_KEY,), sized(b"auth") + sized(b"context")),
    CC.VERIFY_SEQUENCE_START: ((MLDSA_KEY,), _EMPTY * 3),
    CC.SIGN_SEQUENCE_COMPLETE: ((SEQUENCE, MLDSA_KEY), sized(b"data")),
    CC.VERIFY_SEQUENCE_COMPLETE: ((SEQUENCE, MLDSA_KEY), _MLDSA_SIGNATURE),
    CC.SIGN_DIGEST: ((MLDSA_KEY,), _EMPTY + sized(bytes(64)) + _NO_TICKET),
    CC.VERIFY_DIGEST_SIGNATURE: (
        (MLDSA_KEY,),
        _EMPTY + sized(bytes(64)) + _MLDSA_SIGNATURE,
    ),
}
"""Handles and parameters of the commands that need nothing of others."""
