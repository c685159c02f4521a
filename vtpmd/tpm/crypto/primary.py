"""Primary keys from a primary seed, exactly as libtpms derives them (Part 1, 24.6.3).

The order of draws affects the result: key material, for a signing RSA key one trial number, then
the seedValue. A `PrimaryDerivation` is used for one object and in that order:

    derivation = PrimaryDerivation(seed, name, data, level, (sh_proof, eh_proof))
    key = derivation.rsa(2048, 65537, sign=False, should_stop=never)
    seed_value = derivation.seed_value(name_alg)
"""

from .drbg import Drbg
from .ecc import Curve, private_key
from .hashes import digest_size
from .primes import LEVEL, ShouldStop, prime_pair
from .rsa import RsaKey

_LABEL = b"Primary Object Creation\0"


class PrimaryDerivation:
    """The source of everything random in one primary object.

    `name` is the Name of the template as the caller gave it, its `unique` included;
    `data` is TPMS_SENSITIVE_CREATE.data; `level` is the compatibility level of the seed.
    `proofs` is (shProof, ehProof) in the endorsement hierarchy and empty in others. `modulus`: that
    of the RSA key, if it is known.
    """

    def __init__(
        self,
        seed: bytes,
        name: bytes,
        data: bytes,
        level: int = LEVEL,
        proofs: tuple[bytes, ...] = (),
        modulus: int | None = None,
    ) -> None:
        self._drbg = Drbg(seed, _LABEL, name, data)
        self._level = level
        self._proofs = proofs
        self._modulus = modulus

    def rsa(self, bits: int, e: int, *, sign: bool, should_stop: ShouldStop) -> RsaKey:
        """An RSA key; `sign` is the attribute of that name. TPM_RC_CANCELED if stopped.

        Raises NoFactorError if its modulus is another than was said.
        """
        q, p = prime_pair(bits, e, self._drbg, self._level, should_stop, self._modulus)
        key = RsaKey(p, q, e)
        if sign:
            self._draw_trial(key.public.n)
        return key

    def _draw_trial(self, n: int) -> None:
        """Draw the number that libtpms encrypts and decrypts to test a signing key."""
        while not 0 < self._drbg.integer(n.bit_length()) < n:
            pass

    def ecc(self, curve: Curve) -> int:
        """The private key of an ECC key."""
        return private_key(curve, self._drbg.generate)

    def octets(self, size: int) -> bytes:
        """The key of a SYMCIPHER object or, when no data was given, of a KEYEDHASH object."""
        return self._drbg.generate(size)

    def seed_value(self, name_alg: int) -> bytes:
        """The seedValue, drawn last; a digest of `name_alg` in size.

        It depends on the proofs, so that the EK outlives an owner and its children do not (Part 1,
        24.7.4). Asymmetric keys that are no storage parents are stored with an empty seedValue.
        """
        for proof in self._proofs:
            self._drbg.reseed(proof)
        return self._drbg.generate(digest_size(name_alg))
