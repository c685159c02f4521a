"""Evidence made by hand: octets by struct, signatures and digests by pyca and hashlib.

Nothing here uses vtpmd's code: it is the other side of what is verified.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SHA1, SHA256, SHA384 = 0x4, 0xB, 0xC
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}
RSASSA, RSAPSS, ECDSA, NULL = 0x14, 0x16, 0x18, 0x10
RESTRICTED, SIGN, DECRYPT = 1 << 16, 1 << 18, 1 << 17
FIXED_TPM, FIXED_PARENT, ORIGIN, USER_AUTH = 1 << 1, 1 << 4, 1 << 5, 1 << 6
AK = RESTRICTED | SIGN | FIXED_TPM | FIXED_PARENT | ORIGIN | USER_AUTH
QUOTE, CERTIFY = 0x8018, 0x8017
NONCE = bytes.fromhex("00c0ffee")

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_HASHES: dict[int, hashes.HashAlgorithm] = {
    SHA1: hashes.SHA1(),
    SHA256: hashes.SHA256(),
    SHA384: hashes.SHA384(),
}
_CURVES: dict[str, tuple[int, type[ec.EllipticCurve]]] = {
    "p256": (3, ec.SECP256R1),
    "p384": (4, ec.SECP384R1),
}


@cache
def key(kind: str = "rsa", number: int = 0) -> Private:
    """A key, the same each time for the same arguments."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(_CURVES[kind][1]())


def sized(octets: bytes) -> bytes:
    return struct.pack(">H", len(octets)) + octets


def public(
    private: Private, attributes: int = AK, scheme: bytes | None = None, name_alg: int = SHA256
) -> bytes:
    """A TPMT_PUBLIC with, unless given, the scheme of the key's kind."""
    head = struct.pack(">HHI", 1 if isinstance(private, rsa.RSAPrivateKey) else 0x23, name_alg,
                       attributes) + sized(b"")  # fmt: skip
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.public_key().public_numbers()
        own = struct.pack(">HH", RSASSA, SHA256) if scheme is None else scheme
        parameters = struct.pack(">H", NULL) + own + struct.pack(">HI", numbers.n.bit_length(), 0)
        return head + parameters + sized(numbers.n.to_bytes(256))
    point = private.public_key().public_numbers()
    curve = next(number for number, kind in _CURVES.values() if isinstance(point.curve, kind))
    size = (point.curve.key_size + 7) // 8
    own = struct.pack(">HH", ECDSA, SHA256) if scheme is None else scheme
    parameters = struct.pack(">H", NULL) + own + struct.pack(">HH", curve, NULL)
    return head + parameters + sized(point.x.to_bytes(size)) + sized(point.y.to_bytes(size))


def name(area: bytes) -> bytes:
    return struct.pack(">H", SHA256) + hashlib.sha256(area).digest()


def pem(private: Private) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def plain(private: Private, message: bytes, alg: int = SHA256, pss: bool = False) -> bytes:
    """A signature as `tpm2_quote -f plain` writes it."""
    if isinstance(private, rsa.RSAPrivateKey):
        salted = padding.PSS(padding.MGF1(_HASHES[alg]), 32)
        return private.sign(message, salted if pss else padding.PKCS1v15(), _HASHES[alg])
    return private.sign(message, ec.ECDSA(_HASHES[alg]))


def signature(private: Private, message: bytes, alg: int = SHA256, pss: bool = False) -> bytes:
    """A TPMT_SIGNATURE."""
    made = plain(private, message, alg, pss)
    if isinstance(private, rsa.RSAPrivateKey):
        return struct.pack(">HH", RSAPSS if pss else RSASSA, alg) + sized(made)
    r, s = decode_dss_signature(made)
    size = (private.key_size + 7) // 8
    return struct.pack(">HH", ECDSA, alg) + sized(r.to_bytes(size)) + sized(s.to_bytes(size))


Values = Mapping[int, Mapping[int, bytes]]


def selected(values: Values) -> bytes:
    """The octets that the digest of a quote is of."""
    return b"".join(bank[index] for bank in values.values() for index in sorted(bank))


def quote(
    values: Values,
    nonce: bytes = NONCE,
    alg: int = SHA256,
    *,
    magic: int = 0xFF544347,
    kind: int = QUOTE,
    digest: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """A TPMS_ATTEST of a quote over these values."""
    banks = b"".join(
        struct.pack(">HB", bank, 3) + sum(1 << index for index in digests).to_bytes(3, "little")
        for bank, digests in values.items()
    )
    made = hashlib.new(NAMES[alg], selected(values)).digest() if digest is None else digest
    return (
        struct.pack(">IH", magic, kind)
        + sized(b"\0\x0b" + bytes(32))
        + sized(nonce)
        + struct.pack(">QIIBQ", 5_000, 7, 1, 1, 0x20260101_00000000)
        + struct.pack(">I", len(values))
        + banks
        + sized(made)
        + more
    )


@dataclass(frozen=True)
class Event:
    """One event; its digests are of `measured`, which is the data unless it is given."""

    pcr: int
    type: int
    data: bytes = b""
    measured: bytes | None = None

    def digest(self, alg: int) -> bytes:
        if self.type == NO_ACTION:
            return bytes(hashlib.new(NAMES[alg]).digest_size)
        octets = self.data if self.measured is None else self.measured
        return hashlib.new(NAMES[alg], octets).digest()


NO_ACTION, SEPARATOR, EVENT_TAG, CRTM_VERSION, IPL = 0x3, 0x4, 0x6, 0x8, 0xD
DRIVER_CONFIG, BOOT_VARIABLE, APPLICATION = 0x80000001, 0x80000002, 0x80000003
ACTION, BLOB, HCRTM, AUTHORITY = 0x80000007, 0x80000008, 0x80000010, 0x800000E0
GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
SECURITY = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
SHIM_LOCK = UUID("605dab50-e046-4300-abb6-3dd810dd8b23")
X509 = UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
HASHES = UUID("c1c41626-504c-4092-aca9-41f936934328")


def specification(algs: Sequence[int]) -> bytes:
    """The data of the first event of a crypto-agile log."""
    banks = b"".join(struct.pack("<HH", alg, hashlib.new(NAMES[alg]).digest_size) for alg in algs)
    return (
        b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\2" + struct.pack("<I", len(algs)) + banks + b"\0"
    )


def first(algs: Sequence[int]) -> bytes:
    """The first event of a crypto-agile log."""
    data = specification(algs)
    return struct.pack("<II20sI", 0, NO_ACTION, bytes(20), len(data)) + data


def event(made: Event, algs: Sequence[int]) -> bytes:
    """A TCG_PCR_EVENT2."""
    digests = b"".join(struct.pack("<H", alg) + made.digest(alg) for alg in algs)
    return (
        struct.pack("<III", made.pcr, made.type, len(algs))
        + digests
        + struct.pack("<I", len(made.data))
        + made.data
    )


def log(events: Sequence[Event], algs: Sequence[int] = (SHA256,)) -> bytes:
    """A crypto-agile log."""
    return first(algs) + b"".join(event(each, algs) for each in events)


def old_log(events: Sequence[Event]) -> bytes:
    """A log of TCG 1.2."""
    return b"".join(
        struct.pack("<II20sI", each.pcr, each.type, each.digest(SHA1), len(each.data)) + each.data
        for each in events
    )


def replayed(events: Sequence[Event], alg: int = SHA256, start: int = 0) -> dict[int, bytes]:
    """The PCR values that the events make, of the PCRs that they extend."""
    size = hashlib.new(NAMES[alg]).digest_size
    values: dict[int, bytes] = {}
    for each in events:
        if each.type != NO_ACTION:
            before = values.get(each.pcr, (start if each.pcr == 0 else 0).to_bytes(size))
            values[each.pcr] = hashlib.new(NAMES[alg], before + each.digest(alg)).digest()
    return values


def variable(vendor: UUID, title: str, value: bytes) -> bytes:
    """A UEFI_VARIABLE_DATA."""
    return struct.pack("<16sQQ", vendor.bytes_le, len(title), len(value)) + (
        title.encode("utf-16-le") + value
    )


def signature_list(kind: UUID, *entries: bytes) -> bytes:
    """An EFI_SIGNATURE_LIST of entries that are equally long."""
    each = 16 + len(entries[0])
    head = struct.pack("<16sIII", kind.bytes_le, 28 + each * len(entries), 0, each)
    return head + b"".join(bytes(16) + entry for entry in entries)


DB_CERTIFICATE = b"a certificate in db"
DBX_HASH = hashlib.sha256(b"a revoked image").digest()
KERNEL = b"the kernel's image"
COMMAND_LINE = "/vmlinuz root=/dev/vda ro"


def secure_boot(setting: bytes = b"\1") -> list[Event]:
    """What firmware measures into PCR 7."""
    db = signature_list(X509, DB_CERTIFICATE)
    dbx = signature_list(HASHES, DBX_HASH)
    variables = [
        (GLOBAL, "SecureBoot", setting),
        (GLOBAL, "PK", signature_list(X509, b"pk")),
        (GLOBAL, "KEK", signature_list(X509, b"kek")),
        (SECURITY, "db", db),
        (SECURITY, "dbx", dbx),
    ]
    return [
        *(Event(7, DRIVER_CONFIG, variable(*each)) for each in variables),
        Event(7, SEPARATOR, bytes(4)),
        Event(7, AUTHORITY, variable(SECURITY, "db", bytes(16) + DB_CERTIFICATE)),
    ]


def boot(setting: bytes = b"\1", kernel: bytes = KERNEL, line: str = COMMAND_LINE) -> list[Event]:
    """A boot with GRUB."""
    return [
        Event(0, CRTM_VERSION, "edk2 1\0".encode("utf-16-le")),
        Event(0, BLOB, struct.pack("<QQ", 0x820000, 0xE0000), b"firmware"),
        *secure_boot(setting),
        Event(1, BOOT_VARIABLE, variable(GLOBAL, "BootOrder", b"\1\0"), b"\1\0"),
        Event(4, ACTION, b"Calling EFI Application from Boot Option"),
        Event(0, SEPARATOR, bytes(4)),
        Event(4, SEPARATOR, bytes(4)),
        Event(4, APPLICATION, bytes(32), b"shim"),
        Event(4, APPLICATION, bytes(40), kernel),
        Event(8, IPL, f"kernel_cmdline: {line}".encode() + b"\0", line.encode()),
        Event(9, IPL, b"/vmlinuz\0", kernel),
    ]


@dataclass(frozen=True)
class Machine:
    """A machine that has booted, and a key that signs its quotes."""

    events: list[Event] = field(default_factory=boot)
    kind: str = "rsa"
    attributes: int = AK
    algs: tuple[int, ...] = (SHA256,)

    @property
    def private(self) -> Private:
        return key(self.kind)

    @property
    def public(self) -> bytes:
        return public(self.private, self.attributes)

    @property
    def log(self) -> bytes:
        return log(self.events, self.algs)

    @property
    def values(self) -> dict[int, dict[int, bytes]]:
        """The values of all PCRs that have been extended."""
        return {alg: replayed(self.events, alg) for alg in self.algs}

    def quote(self, nonce: bytes = NONCE) -> tuple[bytes, bytes]:
        """A message, and its TPMT_SIGNATURE."""
        message = quote(self.values, nonce)
        return message, signature(self.private, message)

    @property
    def bare_values(self) -> bytes:
        """What `tpm2_quote -F values` writes."""
        return selected(self.values)
