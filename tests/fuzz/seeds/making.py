"""What the seeds are: made by our own encoders from fixed values, the same octets every time."""

import hashlib
import io
import json
import struct
import tarfile
from datetime import datetime

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding

from tests.api.samples import filled
from tests.attest import made as made_evidence
from tests.compat import samples
from tests.compat import stored as compat
from tests.fuzz import commands, spoken
from tests.fuzz.engine import framed_commands
from tests.fuzz.evidence import NONCE, framed
from tests.fuzz.stored import PASSPHRASE, SIZE_SIZE
from tests.kms.kmip.scripted import BYTES, ENUMERATION, STRUCTURE, TEXT, batch_item, item, reply
from tests.storage.simulated import Disk
from vtpmd.admin.routes import HANDLERS
from vtpmd.api import names, schema
from vtpmd.encoding import cbor
from vtpmd.ipc.codec import Codec
from vtpmd.ipc.rules import CODEC, RULES, Side, State
from vtpmd.ipc.version import PROTOCOL, greeting
from vtpmd.kms.local.keyring import KekVersion, Keyring
from vtpmd.kms.pkcs11 import messages as children
from vtpmd.storage.envelope import seal
from vtpmd.storage.record import HEAD_SIZE
from vtpmd.storage.record import size as record_size
from vtpmd.storage.state_file import PLACE_SIZE
from vtpmd.swtpm.table import COMMANDS as CONTROL
from vtpmd.swtpm.table import Stream
from vtpmd.tpm.wire.constants import CC

Seeds = dict[str, bytes]

_LONG_SEQUENCE = 12
_VALID = {CC(code).name.lower(): octets for code, octets in commands.valid().items()}
_READ_CLOCK = _VALID["read_clock"]


def _sequences() -> Seeds:
    """All commands, some after one another; the last ones end much of what there is."""
    last = ("clear", "change_pps", "shutdown")
    every = [_VALID[name] for name in sorted(_VALID, key=last.count)]
    starts = range(0, len(every), _LONG_SEQUENCE)
    return {
        f"from-{start}": framed_commands([(0, each) for each in every[start:][:_LONG_SEQUENCE]])
        for start in starts
    }


def _damages() -> Seeds:
    """Decisions what to damage, drawn once."""
    return {f"drawn-{n}": hashlib.shake_256(bytes([n])).digest(24) for n in range(8)}


def _cbor() -> Seeds:
    values: dict[str, object] = {
        "integers": [0, 23, 24, 255, 256, 65535, 65536, (1 << 64) - 1, -1, -24, -25, -(1 << 64)],
        "strings": ["", b"", "text", bytes(24), "\u00e4\u20ac"],
        "simple": [True, False, None],
        "maps": {1: {"a": [], "b": {}}, -1: [[[]]], "key": b"value"},
        "deep": [[[[[[[1]]]]]]],
    }
    return {name: cbor.encode(value) for name, value in values.items()}


def _envelopes() -> Seeds:
    headers = {"newer": compat.NEWER, "volatile": compat.VOLATILE}
    return {name: compat.sealed(header) for name, header in headers.items()}


def _state_files() -> Seeds:
    return {name: _places(make()) for name, make in compat.MADE.items() if name != "envelope-1"}


def _places(disk: Disk) -> bytes:
    places = []
    for offset in (0, PLACE_SIZE):
        size = record_size(disk.read(offset, HEAD_SIZE))
        places.append(size.to_bytes(SIZE_SIZE) + disk.read(offset, size))
    return b"".join(places)


def _bundles() -> Seeds:
    nvram = seal(compat.DEK, compat.NEWER, compat.SLOTS[:1], b"state", lambda size: bytes(size))
    metadata = json.loads(samples.METADATA.encode())
    metadata["uuid"] = metadata["identity"] = str(compat.VM)
    files = {"meta.json": json.dumps(metadata).encode(), "nvram": nvram}
    volatile = {**files, "nvram": compat.sealed(compat.VOLATILE)}
    certified = {**files, "ek-rsa.pem": b"-----BEGIN CERTIFICATE-----"}
    return {
        "plain": _archive(files),
        "certified": _archive(certified),
        "refused": _archive(volatile),
    }


def _archive(files: Seeds) -> bytes:
    listed = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }
    manifest = json.dumps({"format": 1, "files": listed}).encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {"manifest.json": manifest, **files}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue().rstrip(b"\0") + bytes(1024)


_KEYRING = Keyring(
    (
        KekVersion("0123456789abcdef", 1_700_000_000, "retired", bytes(range(32))),
        KekVersion("fedcba9876543210", 1_700_000_001, "active", bytes(range(32, 64))),
    )
)


def _keyring_exports() -> Seeds:
    header = {"format": 1, "kind": "vtpmd-keyring", "n": 1024, "r": 8, "p": 1}
    sealed = {**header, "salt": bytes(16), "iv": bytes(12)}
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=bytes(16), n=1024, r=8, p=1, dklen=32)
    ciphertext = AESGCM(key).encrypt(bytes(12), _KEYRING.encode(), cbor.encode(sealed))
    return {"cheap": cbor.encode({**sealed, "ciphertext": ciphertext})}


def _configurations() -> Seeds:
    everything = {
        "state_dir": "/srv/tpm",
        "runtime_dir": "/run/tpm",
        "admin": {"group": None},
        "sockets": {"mode": "0660", "owner": None, "group": None, "data_socket": True},
        "sandbox": "best-effort",
        "defaults": {"pcr_banks": ["sha256"], "profile": "default-v1 without SHA1"},
        "key_providers": [
            {"type": "local", "name": "local", "keyring": "/srv/kek", "require_backup": True},
            {
                "type": "vault",
                "name": "v",
                "url": "https://vault:8200",
                "ca": "/c.pem",
                "auth": {"method": "token", "token_file": "/t"},
            },
            {
                "type": "kmip",
                "name": "k",
                "host": "kmip",
                "ca": "/c.pem",
                "certificate": "/d.pem",
                "key": "/k.pem",
            },
        ],
        "default_provider": "local",
        "recovery_provider": "v",
        "clone": {"policy": "replace"},
        "audit": {"file": None, "reads": False},
        "log": {"level": "debug", "format": "console"},
    }
    return {
        "empty": b"",
        "everything": yaml.safe_dump(everything).encode(),
        "flow": b"sockets: {mode: 0640}\nlog: &l {level: info}\n",
    }


def _messages() -> Seeds:
    """Every message, and a report with a word that only a newer version knows."""
    newer = cbor.encode({"type": "Failed", "kind": "x", "reason": ""})
    return {**{name: CODEC.encode(each) for name, each in samples.MESSAGES.items()}, "newer": newer}


def _channels() -> Seeds:
    """A message that fits, behind a greeting, for each end that a channel is met at."""
    seeds = {}
    for number, (side, state) in enumerate(spoken.ENDS):
        start = number.to_bytes(2) + _packet(0, greeting(PROTOCOL))
        for name, message in samples.MESSAGES.items():
            rule = RULES[type(message)]
            if rule.sender is not side and state in rule.states:
                octets = CODEC.encode(message)
                seeds[f"{state.value}-{name}"] = start + _packet(rule.fds[0], octets)
    serving = spoken.ENDS.index((Side.SUPERVISOR, State.SERVING)).to_bytes(2)
    newer = cbor.encode({"type": "Unheard", "x": 1})
    seeds["unheard"] = serving + _packet(0, greeting(PROTOCOL)) + _packet(0, newer)
    return seeds


def _packet(fds: int, octets: bytes) -> bytes:
    return bytes((fds,)) + len(octets).to_bytes(2) + octets


_KEK = children.KekName("vtpmd-1", "0a0b")
_SEALED = children.Sealed(_KEK, "gcm", bytes(60))
_CHILD_REQUESTS: tuple[children.Request, ...] = (
    children.Open("/lib/module.so", "token", "", ("gcm", "key-wrap"), bytearray(b"1234")),
    *(children.Describe(), children.Check("vtpmd", True), children.Make("vtpmd")),
    children.Wrap("vtpmd", True, bytearray(32), b"context"),
    children.Unwrap(_SEALED, b"context"),
    children.Rewrap(_SEALED, b"context", "vtpmd", 1, False),
    children.Destroy("vtpmd", 2, _KEK),
)
_CHILD_REPLIES: tuple[children.Reply, ...] = (
    children.Opened("SoftHSM", "token", "0001", "model", "gcm"),
    *(children.Checked(), children.Made(True), _SEALED, children.Unwrapped(bytearray(32))),
    *(children.Destroyed("other"), children.Failed("pin", "wrong")),
)


def _of_child(codec: Codec, messages: tuple[object, ...]) -> Seeds:
    framed = {type(each).__name__: codec.encode(each) for each in messages}
    return {name: bytes(children.frame(body)) for name, body in framed.items()}


_KEY = item(0x94, TEXT, "17")
_NAMED = item(0x0A, TEXT, "State")
_MATERIAL = item(0x45, STRUCTURE, item(0x43, BYTES, bytes(32)))
_BLOCK = item(0x40, STRUCTURE, item(0x42, ENUMERATION, 1), _MATERIAL)
_OPERATIONS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "create": (0x01, (_KEY,)),
    "locate": (
        0x08,
        (
            _KEY,
            item(0x94, TEXT, "18"),
        ),
    ),
    "get": (
        0x0A,
        (
            item(0x57, ENUMERATION, 2),
            _KEY,
            item(0x8F, STRUCTURE, _BLOCK),
        ),
    ),
    "state": (
        0x0B,
        (
            _KEY,
            item(0x08, STRUCTURE, _NAMED, item(0x0B, ENUMERATION, 2)),
        ),
    ),
    "activate": (0x12, (_KEY,)),
    "revoke": (0x13, (_KEY,)),
    "destroy": (0x14, (_KEY,)),
    "query": (
        0x18,
        (
            item(0x5C, ENUMERATION, 8),
            item(0x9D, TEXT, "Acme"),
        ),
    ),
    "versions": (0x1E, (item(0x69, STRUCTURE, item(0x6A, 2, 1), item(0x6B, 2, 4)),)),
    "encrypt": (
        0x1F,
        (
            _KEY,
            item(0xC2, BYTES, bytes(32)),
            item(0xFF, BYTES, bytes(16)),
        ),
    ),
    "decrypt": (
        0x20,
        (
            _KEY,
            item(0xC2, BYTES, bytes(32)),
        ),
    ),
}


def _kmip_replies() -> Seeds:
    refused = batch_item(0x0A, status=1, reason=1, message="no such key")
    answers = {
        name: reply(batch_item(operation, *payload))
        for name, (operation, payload) in _OPERATIONS.items()
    }
    return {**answers, "refused": reply(refused)}


def _ttlvs() -> Seeds:
    requests = {str(each.operation): bytes(each.encode()) for each in spoken.KMIP_REQUESTS}
    numbers = [(2, b"\0\0\0\1"), (3, bytes(8)), (4, b"\xff" * 16), (6, bytes(7) + b"\1")]
    kinds = [item(0x54, kind, content) for kind, content in [*numbers, (9, bytes(8))]]
    return {**requests, "kinds": item(0x7B, STRUCTURE, *kinds, item(0x55, 0xA, 60))}


def _requests() -> Seeds:
    """A request of HTTP for each operation, and two on one connection."""
    seeds = {}
    for route, handler in HANDLERS.items():
        body, query, kind = b"", "", "application/json"
        if handler.body is not None:
            body = json.dumps(_fitting(filled(handler.body)[1])).encode()
        if handler.query is not None:
            query, body, kind = "?name=web2&start=true", b"bundle", names.BUNDLE_MEDIA_TYPE
        head = f"{route.method} {route.path.format(name='web1')}{query} HTTP/1.1\r\nHost: x\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        seeds[f"{route.method}-{route.path.replace('/', '-')}"] = head.encode() + body
    chunked = (
        b"POST /v1/unlock HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    )
    listed = b"GET /v1/instances HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n"
    seeds["two"] = chunked + listed
    seeds["no-query"] = b"POST /v1/restore?start HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    return {name: b"\xff" + octets for name, octets in seeds.items()}


def _fitting(document: dict[str, object]) -> dict[str, object]:
    """The document with what some fields must be beyond their type."""
    bounds = {"pcr_banks": ["sha256"], "profile": "default-v1", "policy": "copy", "name": "web2"}
    return {name: bounds.get(name, value) for name, value in document.items()}


_ANSWERED: tuple[type[schema.Report], ...] = (
    *(schema.InstanceList, schema.Capabilities, schema.ProviderList, schema.UnlockResult),
    *(schema.InstanceInfo, schema.Digests, schema.Deletion, schema.RekeyResult),
    *(schema.RotateResult, schema.Report, schema.KeyringBackup, schema.KeyImportResult),
)
"""What `spoken.QUESTIONS` are answered with, in their order."""


def _reports() -> Seeds:
    seeds = {}
    for number, kind in enumerate(_ANSWERED):
        body = json.dumps(filled(kind)[1]).encode()
        seeds[kind.__name__] = number.to_bytes(2) + _answer(200, body)
    problem = {"code": "not-found", "detail": "No instance web1."}
    return {**seeds, "problem": bytes(2) + _answer(404, json.dumps(problem).encode())}


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def _data(*commands: bytes) -> bytes:
    """Writes of a client, one command each, to a buffer of the largest size."""
    return b"\xff\xff" + b"".join(len(each).to_bytes(2) + each + b"\0" for each in commands)


_TCG = struct.pack(">IBI", 8, 3, len(_READ_CLOCK)) + _READ_CLOCK
_SET_LOCALITY = struct.pack(">HIIB", 0x8001, 11, 0x20001000, 3)
_GUEST = {
    "two": _data(_READ_CLOCK, _VALID["pcr_extend"]),
    "in-pieces": _data(_READ_CLOCK[:3], _READ_CLOCK[3:7], _READ_CLOCK[7:]),
    "behind": _data(_READ_CLOCK + _VALID["pcr_read"]),
    "large": _data(b"\x80\1\xff\xff\xff\xff" + bytes(8)),
    "empty": _data(b"\x80\1" + bytes(8)),
}


def _controls() -> Seeds:
    """Each request in a piece of its own, and all in a row behind INIT."""
    requests = {}
    for number, command in CONTROL.items():
        body = bytes(struct.calcsize(command.shape.body))
        data = b""
        if command.shape.stream is not Stream.NONE:
            body, data = body[:-4] + (4).to_bytes(4), b"data"
        requests[command.name.lower()] = number.to_bytes(4) + body + data
    pieces = {name: bytes((len(each) - 1,)) + each for name, each in requests.items()}
    return {**pieces, "all": pieces["init"] + b"".join(pieces.values())}


_PRIVATE = ec.derive_private_key(0x5E, ec.SECP256R1())
_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "key")])
_CERTIFICATE = (
    x509.CertificateBuilder(_NAME, _NAME, _PRIVATE.public_key(), 1)
    .not_valid_before(datetime(2026, 1, 1))
    .not_valid_after(datetime(9999, 12, 31))
    .add_extension(x509.BasicConstraints(True, None), True)
    .sign(_PRIVATE, hashes.SHA256(), ecdsa_deterministic=True)
    .public_bytes(Encoding.DER)
)
_BOOT = made_evidence.boot()


def _event_logs() -> Seeds:
    return {
        "agile": made_evidence.log(_BOOT, (made_evidence.SHA1, made_evidence.SHA256)),
        "old": made_evidence.old_log(_BOOT),
        "padded": made_evidence.log(_BOOT[:3]) + bytes(64),
    }


def _quotes() -> Seeds:
    values = {made_evidence.SHA256: made_evidence.replayed(_BOOT)}
    message = made_evidence.quote(values, NONCE)
    signature = _PRIVATE.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    parts = (message, signature, made_evidence.selected(values), made_evidence.log(_BOOT))
    keys = {
        "genuine": made_evidence.public(_PRIVATE),
        "pem": made_evidence.pem(_PRIVATE),
        "certified": _CERTIFICATE,
    }
    return {name: framed(key, *parts) for name, key in keys.items()}


def made() -> dict[str, Seeds]:
    """The seeds of every target, by their names."""
    return {
        "command": dict(_VALID),
        "sequence": _sequences(),
        "permanent_state": _damages(),
        "volatile_state": _damages(),
        "cbor": _cbor(),
        "envelope": _envelopes(),
        "state_file": _state_files(),
        "bundle": _bundles(),
        "keyring": {"two": _KEYRING.encode()},
        "keyring_export": _keyring_exports(),
        "metadata": {"full": samples.METADATA.encode()},
        "configuration": _configurations(),
        "message": _messages(),
        "channel": _channels(),
        "child_request": _of_child(children.REQUESTS, _CHILD_REQUESTS),
        "child_reply": _of_child(children.REPLIES, _CHILD_REPLIES),
        "ttlv": _ttlvs(),
        "kmip_reply": _kmip_replies(),
        "report": _reports(),
        "data_descriptor": _GUEST,
        "data_listener": {**_GUEST, "tcg": _data(_TCG, _TCG), "vendor": _data(_SET_LOCALITY)},
        "control": _controls(),
        "admin": _requests(),
        "event_log": _event_logs(),
        "quote": _quotes(),
        "certificate": {"self": _CERTIFICATE},
    }
