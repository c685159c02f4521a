"""Keys of the test's own, loaded by TPM2_LoadExternal: both TPMs of a comparison hold the same."""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.tpm import areas
from tests.tpm.areas import NO_DA, NONE, USER_AUTH, words
from tests.tpm.crypto import library
from tests.tpm.harness import EnginePeer, Password, Result, Tester
from vtpmd.tpm.wire.constants import ALG, ECC_CURVE, RH

H1, H2, H3 = 0x100, 0x200, 0x300
P1, P2, P3, P4 = 0x140, 0x240, 0x340, 0x440
"""Positions of handles and parameters in response codes."""
ATTRIBUTES = USER_AUTH | NO_DA
HMAC_KEY = bytes(range(32))
CIPHER_KEY = bytes(range(16, 32))
_SEED = b"\x5e" * 32


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """An RSA key, the same for every test."""
    return rsa.generate_private_key(65537, bits)


def ecc_key(curve: int = ECC_CURVE.NIST_P256) -> ec.EllipticCurvePrivateKey:
    """A key on a curve, the same for every test."""
    return _ecc_key(int(curve))


@cache
def _ecc_key(curve: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(library.CURVES[curve])


def point(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """Coordinates, padded."""
    numbers, size = key.public_numbers(), (key.curve.key_size + 7) // 8
    return numbers.x.to_bytes(size), numbers.y.to_bytes(size)


def rsa_areas(
    attributes: int, scheme: bytes = NONE, bits: int = 2048, auth: bytes = b""
) -> tuple[bytes, bytes]:
    """Public and sensitive area of `rsa_key`."""
    numbers = rsa_key(bits).private_numbers()
    unique = numbers.public_numbers.n.to_bytes(bits // 8)
    public = areas.rsa(ATTRIBUTES | attributes, scheme=scheme, bits=bits, unique=unique)
    return public, areas.sensitive(ALG.RSA, numbers.p.to_bytes(bits // 16), auth=auth)


def ecc_areas(
    attributes: int, scheme: bytes = NONE, curve: int = ECC_CURVE.NIST_P256, kdf: bytes = NONE
) -> tuple[bytes, bytes]:
    """Public and sensitive area of `ecc_key`."""
    key = ecc_key(curve)
    x, y = point(key.public_key())
    public = areas.ecc(ATTRIBUTES | attributes, scheme=scheme, curve=curve, kdf=kdf, x=x, y=y)
    secret = key.private_numbers().private_value.to_bytes(len(x))
    return public, areas.sensitive(ALG.ECC, secret)


def hmac_areas(
    attributes: int, scheme: bytes = NONE, key: bytes = HMAC_KEY, auth: bytes = b""
) -> tuple[bytes, bytes]:
    """Public and sensitive area of a keyedHash object with `key`."""
    unique = hashlib.sha256(_SEED + key).digest()
    public = areas.keyedhash(ATTRIBUTES | attributes, scheme=scheme, unique=unique)
    return public, areas.sensitive(ALG.KEYEDHASH, key, seed=_SEED, auth=auth)


def cipher_areas(
    attributes: int, mode: int = ALG.CFB, key: bytes = CIPHER_KEY, alg: int = ALG.AES
) -> tuple[bytes, bytes]:
    """Public and sensitive area of a block cipher key."""
    symmetric = words(alg, len(key) * 8, mode)
    unique = hashlib.sha256(_SEED + key).digest()
    public = areas.symcipher(ATTRIBUTES | attributes, symmetric=symmetric, unique=unique)
    return public, areas.sensitive(ALG.SYMCIPHER, key, seed=_SEED)


class Pair:
    """The engine and a real swtpm, given the same commands: they have to agree on the code."""

    def __init__(self, both: tuple[Tester, Tester]) -> None:
        self.engine, self.swtpm = both

    def run(
        self, code: int, handles: tuple[int, ...] = (), params: bytes = b"", password: int = 0
    ) -> tuple[Result, Result]:
        """Run a command with `password` empty passwords on both."""
        auths = [Password()] * password
        ours = self.engine.run(code, handles, params, auths)
        theirs = self.swtpm.run(code, handles, params, auths)
        assert (hex(ours.rc), ours.handle) == (hex(theirs.rc), theirs.handle)
        return ours, theirs

    def refuse(
        self, code: int, handles: tuple[int, ...] = (), params: bytes = b"", password: int = 0
    ) -> int:
        """The response code on which both agree, of a command that fails and changes nothing."""
        before = self.state()
        ours, _ = self.run(code, handles, params, password)
        assert ours.rc
        assert self.state() == before
        return ours.rc

    def state(self) -> tuple[bytes, bytes]:
        """All state of the engine."""
        assert isinstance(self.engine.peer, EnginePeer)
        return self.engine.peer.engine.permanent(), self.engine.peer.engine.volatile()

    def same(
        self, code: int, handles: tuple[int, ...] = (), params: bytes = b"", password: int = 0
    ) -> Result:
        """The answer on which both agree, of a command that succeeds."""
        ours, theirs = self.run(code, handles, params, password)
        assert ours.rc == 0, hex(ours.rc)
        assert ours.parameters.hex() == theirs.parameters.hex()
        return ours

    def load(self, pair: tuple[bytes, bytes], hierarchy: int = RH.NULL) -> int:
        """Load an object into the same slot of both; its public area only if that is all."""
        public, sensitive = pair
        ours = areas.load_external(self.engine, public, sensitive, hierarchy)
        theirs = areas.load_external(self.swtpm, public, sensitive, hierarchy)
        assert (hex(ours.rc), ours.handle) == (hex(theirs.rc), theirs.handle)
        assert ours.rc == 0, hex(ours.rc)
        assert ours.handle is not None
        return ours.handle

    def flush(self, *handles: int) -> None:
        """Flush objects from both."""
        areas.flush(self.engine, *handles)
        areas.flush(self.swtpm, *handles)
