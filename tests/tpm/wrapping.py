"""The formats in which sensitive areas leave a TPM, made and opened with `cryptography`.

Part 1, clauses 20 and 21 and 8.4.5.2, without the engine's help: an independent opinion of what is
in a TPM2B_PRIVATE, a duplicate or a credential.
"""

import hmac
import os
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from tests.tpm.areas import (
    AES_128_CFB,
    STORAGE,
    ecc,
    flush,
    import_object,
    load,
    loaded_primary,
    name_of,
    sensitive,
    storage,
    words,
)
from tests.tpm.crypto import library
from tests.tpm.harness import HASH_NAMES, Tester, digest, kdfa, sized
from vtpmd.tpm.wire.constants import ALG

_NO_IV = bytes(16)


def cfb(key: bytes, iv: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """AES-CFB with the key's size."""
    cipher = Cipher(AES(key), CFB(iv))
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def protect(
    alg: int, seed: bytes, name: bytes, plain: bytes, *, bits: int = 128, iv: bytes | None = None
) -> bytes:
    """The outer wrapper; with `iv` that of a child, without that of a duplicate."""
    key = kdfa(alg, seed, b"STORAGE", name, b"", bits)
    encrypted = cfb(key, _NO_IV if iv is None else iv, plain)
    if iv is not None:
        encrypted = sized(iv) + encrypted
    return sized(_integrity(alg, seed, name, encrypted)) + encrypted


def unprotect(
    alg: int, seed: bytes, name: bytes, blob: bytes, *, bits: int = 128, has_iv: bool = False
) -> bytes:
    """The inverse of `protect`; an AssertionError if the integrity value is wrong."""
    size = int.from_bytes(blob[:2])
    integrity, encrypted = blob[2 : 2 + size], blob[2 + size :]
    assert integrity == _integrity(alg, seed, name, encrypted)
    iv = _NO_IV
    if has_iv:
        assert encrypted[:2] == words(16)
        iv, encrypted = encrypted[2:18], encrypted[18:]
    key = kdfa(alg, seed, b"STORAGE", name, b"", bits)
    return cfb(key, iv, encrypted, decrypt=True)


def _integrity(alg: int, seed: bytes, name: bytes, encrypted: bytes) -> bytes:
    key = kdfa(alg, seed, b"INTEGRITY", b"", b"", len(digest(alg)) * 8)
    return hmac.digest(key, encrypted + name, HASH_NAMES[ALG(alg)])


def inner_wrap(alg: int, key: bytes, name: bytes, plain: bytes) -> bytes:
    """The inner wrapper of a duplicate."""
    return cfb(key, _NO_IV, sized(digest(alg, plain, name)) + plain)


def inner_unwrap(alg: int, key: bytes, name: bytes, blob: bytes) -> bytes:
    """The inverse of `inner_wrap`; an AssertionError if the integrity value is wrong."""
    plain = cfb(key, _NO_IV, blob, decrypt=True)
    size = int.from_bytes(plain[:2])
    assert plain[2 : 2 + size] == digest(alg, plain[2 + size :], name)
    return plain[2 + size :]


def kdfe(alg: int, z: bytes, use: bytes, u: bytes, v: bytes, bits: int) -> bytes:
    """KDFe (Part 1, 8.4.10.3)."""
    octets, counter = b"", 0
    while len(octets) * 8 < bits:
        counter += 1
        octets += digest(alg, struct.pack(">I", counter), z, use + b"\0", u, v)
    return octets[: bits // 8]


def share_with(public: bytes, label: bytes) -> tuple[bytes, bytes]:
    """(seed, TPM2B_ENCRYPTED_SECRET's octets) for the holder of a key with this TPMT_PUBLIC."""
    kind, alg = int.from_bytes(public[:2]), int.from_bytes(public[2:4])
    size = len(digest(alg))
    if kind == ALG.RSA:
        seed = os.urandom(size)
        modulus = int.from_bytes(public[-256:])
        library_hash = library.HASHES[alg]
        oaep = padding.OAEP(padding.MGF1(library_hash), library_hash, label + b"\0")
        return seed, rsa.RSAPublicNumbers(65537, modulus).public_key().encrypt(seed, oaep)
    x, y = ecc_point(public)
    curve = library.CURVES[int.from_bytes(public[-len(x) - len(y) - 8 :][:2])]
    recipient = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve)
    ephemeral = ec.generate_private_key(curve)
    numbers = ephemeral.public_key().public_numbers()
    own_x, own_y = numbers.x.to_bytes(len(x)), numbers.y.to_bytes(len(x))
    z = ephemeral.exchange(ec.ECDH(), recipient.public_key())
    return kdfe(alg, z, label, own_x, x, size * 8), sized(own_x) + sized(own_y)


def ecc_point(public: bytes) -> tuple[bytes, bytes]:
    """x and y at the end of the TPMT_PUBLIC of an ECC key."""
    for size in (32, 48, 66):
        tail = public[-2 * (size + 2) :]
        if tail[:2] == tail[size + 2 : size + 4] == words(size):
            return tail[2 : size + 2], tail[size + 4 :]
    raise AssertionError("not an ECC key with padded coordinates")


@dataclass(frozen=True)
class StorageKey:
    """A P-256 storage key of which everything is known."""

    attributes: int
    alg: int = ALG.SHA256
    seed: bytes = field(default_factory=lambda: os.urandom(32))
    private: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def public(self) -> bytes:
        """TPMT_PUBLIC."""
        numbers = self.private.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32), numbers.y.to_bytes(32)
        attributes = self.attributes | STORAGE
        return ecc(attributes, alg=self.alg, symmetric=AES_128_CFB, x=x, y=y)

    @property
    def sensitive(self) -> bytes:
        """TPMT_SENSITIVE."""
        d = self.private.private_numbers().private_value.to_bytes(32)
        return sensitive(ALG.ECC, d, seed=self.seed)

    def wrap(self, public: bytes, plain: bytes, iv: bytes | None = None) -> bytes:
        """TPM2B_PRIVATE's octets of a child; `plain` is what a TPM2B_SENSITIVE should be."""
        return protect(self.alg, self.seed, name_of(public), plain, iv=iv or os.urandom(16))

    def unwrap(self, public: bytes, private: bytes) -> bytes:
        """TPMT_SENSITIVE of a child."""
        plain = unprotect(self.alg, self.seed, name_of(public), private, has_iv=True)
        assert plain[:2] == words(len(plain) - 2)
        return plain[2:]

    def open_seed(self, secret: bytes, label: bytes) -> bytes:
        """The seed in a TPM2B_ENCRYPTED_SECRET."""
        x, y = secret[2:34], secret[36:68]
        ephemeral = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()
        )
        z = self.private.exchange(ec.ECDH(), ephemeral.public_key())
        own_x = ecc_point(self.public)[0]
        return kdfe(self.alg, z, label, x, own_x, len(digest(self.alg)) * 8)


def install(tester: Tester, key: StorageKey) -> int:
    """The handle of a storage key of which everything is known, imported and loaded."""
    primary = loaded_primary(tester, storage())
    imported = import_object(tester, primary, key.public, sized(key.sensitive))
    assert imported.rc == 0, hex(imported.rc)
    loaded = load(tester, primary, imported.sized(), key.public)
    assert loaded.rc == 0, hex(loaded.rc)
    assert loaded.handle is not None
    flush(tester, primary)
    return loaded.handle
