"""Primary keys from a primary seed, exactly as libtpms derives them (Part 1, 24.6.3).

The order of draws is part of the result: key material, for a signing RSA key one trial number,
then the seedValue. A ``PrimaryDerivation`` is used for one object and in that order:

    derivation = PrimaryDerivation(seed, name, data, level)
    key = derivation.rsa(2048, 65537, sign=False, should_stop=never)
    seed_value = derivation.seed_value(name_alg, (sh_proof, eh_proof))
"""

from vtpmd.tpm.crypto.drbg import Drbg
from vtpmd.tpm.crypto.ecc import Curve, private_key
from vtpmd.tpm.crypto.hashes import digest, digest_size, hmac
from vtpmd.tpm.crypto.primes import ShouldStop, prime_pair
from vtpmd.tpm.crypto.rsa import RsaKey

_LABEL = b"Primary Object Creation\0"

LEVEL_ORIGINAL = 0
"""Seeds made by libtpms before 0.8: another draw of RSA primes."""

LEVEL = 1
"""Every seed made here, and by libtpms since."""


class PrimaryDerivation:
    """Everything random in one primary object.

    ``name`` is the Name of the template as the caller gave it, its ``unique`` included;
    ``data`` is TPMS_SENSITIVE_CREATE.data; ``level`` is the compatibility level of the seed.
    """

    def __init__(self, seed: bytes, name: bytes, data: bytes, level: int = LEVEL) -> None:
        self._drbg = Drbg(seed, _LABEL, name, data)
        self._level = level

    def rsa(self, bits: int, e: int, *, sign: bool, should_stop: ShouldStop) -> RsaKey:
        """An RSA key; ``sign`` is the attribute of that name. TPM_RC_CANCELED if stopped."""
        q, p = prime_pair(bits, e, self._drbg, self._level, should_stop)
        key = RsaKey(p, q, e)
        if sign:
            self._draw_trial(key.public.n)
        return key

    def _draw_trial(self, n: int) -> None:
        """Draw the number that libtpms encrypts and decrypts to try a signing key."""
        while not 0 < self._drbg.integer(n.bit_length()) < n:
            pass

    def ecc(self, curve: Curve) -> int:
        """The private key of an ECC key."""
        return private_key(curve, self._drbg.generate)

    def octets(self, size: int) -> bytes:
        """The key of a SYMCIPHER object or, when no data was given, of a KEYEDHASH object."""
        return self._drbg.generate(size)

    def seed_value(self, name_alg: int, proofs: tuple[bytes, ...] = ()) -> bytes:
        """The seedValue, drawn last; a digest of ``name_alg`` in size.

        ``proofs`` is (shProof, ehProof) in the endorsement hierarchy and empty in others.
        Asymmetric keys that are no storage parents are stored with an empty seedValue.
        """
        for proof in proofs:
            self._drbg.reseed(proof)
        return self._drbg.generate(digest_size(name_alg))


def symmetric_unique(name_alg: int, seed_value: bytes, sensitive: bytes, *, parent: bool) -> bytes:
    """``unique`` of a SYMCIPHER or KEYEDHASH object, primary or not (Part 1, 24.5.3.2).

    For a ``parent``, an object that is restricted and decrypt, libtpms takes an HMAC instead of
    the hash of the clause, and so must we.
    """
    if parent:
        return hmac(name_alg, seed_value, sensitive)
    return digest(name_alg, seed_value, sensitive)
