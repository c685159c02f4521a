"""What a TPM implements, fixed when the instance is manufactured.

A profile lists algorithms, key sizes, curves and commands. The sets that the interface types of
Part 2, clauses 9, 11 and 12, allow follow from it. A TPM's state stores
only its name, which is that of one of `PROFILES`, followed by restrictions if there are any:

    default-v1 without NIST_P521 RSA-4096 SHA1 CC_CLEAR
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Final

from .crypto import mldsa, mlkem, montgomery
from .crypto.ecc import CURVES
from .crypto.hashes import HASHES
from .crypto.symmetric import CIPHERS
from .rc import EngineError
from .wire.constants import ALG, CC, ECC_CURVE, MLDSA_PARMS, MLKEM_PARMS
from .wire.limits import (
    CRB_BUFFER_SIZE,
    DEFAULT_BUFFER_SIZE,
    MAX_BUFFER_SIZE,
    MAX_CONTEXT_DATA_SIZE,
    MAX_CONTEXT_SIZE,
    MAX_ENCRYPTED_SECRET_SIZE,
    MAX_PUBLIC_SIZE,
    MAX_RSA_KEY_BYTES,
    MIN_BUFFER_SIZE,
)

FIRST_VERSION: Final = 184
"""Version of the library specification whose commands the first profiles have."""
MESSAGE_SIGNING_VERSION: Final = 185
"""The version that brought key encapsulation and the signing of messages."""

_HASHES: Final = frozenset(HASHES)
_BLOCK_CIPHERS: Final = frozenset(CIPHERS)
_CIPHER_MODES: Final = frozenset({ALG.CTR, ALG.OFB, ALG.CBC, ALG.CFB, ALG.ECB})
_ECC_SIGNING: Final = frozenset(
    {ALG.ECDSA, ALG.ECDAA, ALG.SM2, ALG.ECSCHNORR, ALG.EDDSA, ALG.HASH_EDDSA}
)
_ECC_KEY_EXCHANGES: Final = frozenset({ALG.ECDH, ALG.ECMQV, ALG.SM2})
_MLDSA: Final = frozenset({ALG.MLDSA, ALG.HASH_MLDSA})
_LARGE: Final = frozenset({MLDSA_PARMS.MLDSA_87})
"""Parameter sets whose signatures fit into the largest buffers only."""
_RSA_SIGNING: Final = frozenset({ALG.RSASSA, ALG.RSAPSS})
_RSA_ENCRYPTION: Final = frozenset({ALG.RSAES, ALG.OAEP})


class ProfileError(EngineError, ValueError):
    """There is no such profile or PCR bank, or no such restriction of it."""


@dataclass(frozen=True)
class Profile:
    """Algorithms and commands of a TPM.

    `algorithms` are all that GetCapability(ALGS) reports; `key_bits` gives the sizes of RSA and
    of every block cipher among them, `mlkem_parms` and `mldsa_parms` the parameter sets of ML-KEM
    and ML-DSA. `pcr_banks` are the hashes a PCR bank may have. The commands are those of `version`
    of the library specification, except `without_commands`.
    """

    name: str
    algorithms: frozenset[int]
    key_bits: Mapping[int, frozenset[int]]
    ecc_curves: frozenset[int]
    pcr_banks: frozenset[int]
    version: int = FIRST_VERSION
    without_commands: frozenset[int] = frozenset()
    mlkem_parms: frozenset[int] = frozenset()
    mldsa_parms: frozenset[int] = frozenset()

    @cached_property
    def hash_algs(self) -> frozenset[int]:
        """TPMI_ALG_HASH (9.31)."""
        return self.algorithms & _HASHES

    @cached_property
    def asym_algs(self) -> frozenset[int]:
        """TPMI_ALG_ASYM (9.32)."""
        return self.algorithms & {ALG.RSA, ALG.ECC}

    @cached_property
    def object_types(self) -> frozenset[int]:
        """TPMI_ALG_PUBLIC (12.2.2)."""
        return self.algorithms & {
            ALG.RSA,
            ALG.ECC,
            ALG.KEYEDHASH,
            ALG.SYMCIPHER,
            ALG.MLKEM,
            *_MLDSA,
        }

    @cached_property
    def symmetric_algs(self) -> frozenset[int]:
        """TPMI_ALG_SYM (9.33)."""
        return self.algorithms & (_BLOCK_CIPHERS | {ALG.XOR})

    @cached_property
    def block_ciphers(self) -> frozenset[int]:
        """TPMI_ALG_SYM_OBJECT (9.34)."""
        return self.algorithms & _BLOCK_CIPHERS

    @cached_property
    def symmetric_key_bits(self) -> Mapping[int, frozenset[int]]:
        """TPMI_AES_KEY_BITS and its like, by block cipher (11.1.2)."""
        return {int(cipher): self.key_bits[cipher] for cipher in self.block_ciphers}

    @cached_property
    def symmetric_modes(self) -> frozenset[int]:
        """TPMI_ALG_SYM_MODE (9.35)."""
        return self.algorithms & (_CIPHER_MODES | {ALG.CMAC})

    @cached_property
    def cipher_modes(self) -> frozenset[int]:
        """TPMI_ALG_CIPHER_MODE (9.41)."""
        return self.algorithms & _CIPHER_MODES

    @cached_property
    def mac_schemes(self) -> frozenset[int]:
        """TPMI_ALG_MAC_SCHEME (9.40)."""
        return self.algorithms & (_HASHES | {ALG.CMAC})

    @cached_property
    def kdfs(self) -> frozenset[int]:
        """TPMI_ALG_KDF (9.36)."""
        return self.algorithms & {
            ALG.MGF1,
            ALG.KDF2,
            ALG.KDF1_SP800_56A,
            ALG.KDF1_SP800_108,
            ALG.HKDF,
        }

    @cached_property
    def sig_schemes(self) -> frozenset[int]:
        """TPMI_ALG_SIG_SCHEME (9.37)."""
        return self.algorithms & (_RSA_SIGNING | _ECC_SIGNING | _MLDSA | {ALG.HMAC})

    @cached_property
    def keyedhash_schemes(self) -> frozenset[int]:
        """TPMI_ALG_KEYEDHASH_SCHEME (11.1.19)."""
        return self.algorithms & {ALG.HMAC, ALG.XOR}

    @cached_property
    def rsa_schemes(self) -> frozenset[int]:
        """TPMI_ALG_RSA_SCHEME (11.2.4.1)."""
        return self.algorithms & (_RSA_SIGNING | _RSA_ENCRYPTION)

    @cached_property
    def rsa_decrypt_schemes(self) -> frozenset[int]:
        """TPMI_ALG_RSA_DECRYPT (11.2.4.4)."""
        return self.algorithms & _RSA_ENCRYPTION

    @cached_property
    def rsa_key_bits(self) -> frozenset[int]:
        """TPMI_RSA_KEY_BITS (11.2.4.7)."""
        return self.key_bits.get(ALG.RSA, frozenset())

    @cached_property
    def ecc_schemes(self) -> frozenset[int]:
        """TPMI_ALG_ECC_SCHEME (11.2.5.4)."""
        return self.algorithms & (_ECC_SIGNING | _ECC_KEY_EXCHANGES)

    @cached_property
    def ecc_key_exchanges(self) -> frozenset[int]:
        """TPMI_ECC_KEY_EXCHANGE (9.38)."""
        return self.algorithms & _ECC_KEY_EXCHANGES

    @cached_property
    def max_encrypted_secret_size(self) -> int:
        """Octets in a TPM2B_ENCRYPTED_SECRET (11.4.3)."""
        ciphertexts = (mlkem.PARAMETER_SETS[parms].ciphertext_size for parms in self.mlkem_parms)
        return max(MAX_ENCRYPTED_SECRET_SIZE, *ciphertexts, 0)

    @cached_property
    def max_public_size(self) -> int:
        """Octets of a TPMT_PUBLIC (12.2.4)."""
        keys = [MAX_RSA_KEY_BYTES]
        keys += [mlkem.PARAMETER_SETS[parms].public_size for parms in self.mlkem_parms]
        keys += [mldsa.PARAMETER_SETS[parms].public_size for parms in self.mldsa_parms]
        return MAX_PUBLIC_SIZE - MAX_RSA_KEY_BYTES + max(keys)

    @cached_property
    def buffer_sizes(self) -> tuple[int, int]:
        """The smallest and the largest buffer for commands and responses, in octets."""
        smallest = CRB_BUFFER_SIZE if self.mldsa_parms else MIN_BUFFER_SIZE
        largest = MAX_BUFFER_SIZE if self.mldsa_parms & _LARGE else DEFAULT_BUFFER_SIZE
        return smallest, largest

    def within(self, buffer_size: int) -> "Profile":
        """What of this profile there is with a buffer of this size: large keys need a large one."""
        return self if buffer_size >= self.buffer_sizes[1] else self._without_large

    @cached_property
    def _without_large(self) -> "Profile":
        if not self.mldsa_parms & _LARGE:
            return self
        return replace(self, mldsa_parms=self.mldsa_parms - _LARGE)

    @cached_property
    def max_context_size(self) -> int:
        """Octets of what a saved context protects, as TPM_PT_MAX_OBJECT_CONTEXT reports it."""
        return MAX_CONTEXT_SIZE + self.max_public_size - MAX_PUBLIC_SIZE

    @cached_property
    def max_context_data_size(self) -> int:
        """Octets in a TPM2B_CONTEXT_DATA (14.5)."""
        return MAX_CONTEXT_DATA_SIZE + self.max_context_size - MAX_CONTEXT_SIZE

    def without(self, *names: str) -> "Profile":
        """This profile without some algorithms, key sizes, curves or commands.

        Raises ProfileError for a name that it does not have or that is essential.
        """
        removed = {name: self._parts.get(name) for name in names}
        for name, part in removed.items():
            if part is None or name in _ESSENTIAL:
                why = "has no such thing" if part is None else "needs it, or its keys do"
                raise ProfileError(f"profile {self.name} without {name}: it {why}")
        gone = {part for part in removed.values() if part is not None}
        algorithms = self.algorithms - {value for kind, value in gone if kind == "ALG"}
        return replace(
            self,
            name=" ".join((self.name, "without", *sorted(removed))),
            algorithms=algorithms,
            key_bits={
                alg: frozenset(bits for bits in sizes if (alg, bits) not in gone)
                for alg, sizes in self.key_bits.items()
                if alg in algorithms
            },
            ecc_curves=self.ecc_curves - {value for kind, value in gone if kind == "ECC"},
            mlkem_parms=_left(self.mlkem_parms, "MLKEM", gone, algorithms & {ALG.MLKEM}),
            mldsa_parms=_left(self.mldsa_parms, "MLDSA", gone, algorithms & _MLDSA),
            pcr_banks=self.pcr_banks & algorithms,
            without_commands=self.without_commands
            | {value for kind, value in gone if kind == "CC"},
        )

    @cached_property
    def _parts(self) -> Mapping[str, tuple[int | str, int]]:
        """What can be named: (kind, value), or (algorithm, key size)."""
        found: dict[str, tuple[int | str, int]] = {}
        found |= {ALG(alg).name: ("ALG", alg) for alg in self.algorithms}
        found |= {ECC_CURVE(curve).name: ("ECC", curve) for curve in self.ecc_curves}
        found |= {MLKEM_PARMS(parms).name: ("MLKEM", parms) for parms in self.mlkem_parms}
        found |= {MLDSA_PARMS(parms).name: ("MLDSA", parms) for parms in self.mldsa_parms}
        commands = set(CC) - self.without_commands
        found |= {f"CC_{code.name}": ("CC", int(code)) for code in commands}
        for alg, sizes in self.key_bits.items():
            found |= {f"{ALG(alg).name}-{bits}": (alg, bits) for bits in sizes}
        return found


def _left(
    parms: frozenset[int], kind: str, gone: set[tuple[int | str, int]], users: frozenset[int]
) -> frozenset[int]:
    """The parameter sets that are not gone; none without an algorithm that has any."""
    if not users:
        return frozenset()
    return parms - {value for found, value in gone if found == kind}


_ESSENTIAL: Final = frozenset(
    {
        *("RSA", "ECC", "KEYEDHASH", "SYMCIPHER", "HMAC", "AES", "CFB", "SHA256", "SHA384"),
        *("SHA512", "OAEP", "ECDH", "MGF1", "KDF1_SP800_56A", "KDF1_SP800_108"),
        *("RSA-2048", "NIST_P256", "AES-128"),
        *("CC_STARTUP", "CC_SHUTDOWN", "CC_SELF_TEST", "CC_GET_CAPABILITY", "CC_GET_TEST_RESULT"),
        *("CC_CREATE_PRIMARY", "CC_EVICT_CONTROL", "CC_FLUSH_CONTEXT", "CC_READ_PUBLIC"),
    }
)
"""Needed by endorsement keys, the TPM's own secrets and every guest's firmware."""

_DEFAULT_V1: Final = Profile(
    name="default-v1",
    algorithms=frozenset(
        {
            ALG.RSA,
            ALG.ECC,
            ALG.KEYEDHASH,
            ALG.SYMCIPHER,
            ALG.SHA1,
            ALG.SHA256,
            ALG.SHA384,
            ALG.SHA512,
            ALG.AES,
            ALG.CAMELLIA,
            ALG.XOR,
            ALG.CTR,
            ALG.OFB,
            ALG.CBC,
            ALG.CFB,
            ALG.ECB,
            ALG.HMAC,
            ALG.CMAC,
            ALG.RSASSA,
            ALG.RSAPSS,
            ALG.RSAES,
            ALG.OAEP,
            ALG.ECDSA,
            ALG.ECDAA,
            ALG.ECSCHNORR,
            ALG.ECDH,
            ALG.MGF1,
            ALG.KDF1_SP800_56A,
            ALG.KDF1_SP800_108,
            ALG.KDF2,
        }
    ),
    key_bits={
        ALG.RSA: frozenset({2048, 3072, 4096}),
        ALG.AES: frozenset({128, 192, 256}),
        ALG.CAMELLIA: frozenset({128, 192, 256}),
    },
    ecc_curves=frozenset({ECC_CURVE.NIST_P256, ECC_CURVE.NIST_P384, ECC_CURVE.NIST_P521}),
    pcr_banks=frozenset({ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512}),
)

# Not in the default: the feature API of tpm2-tss (3.2.1 of Debian 12, and newer sources) refuses to
# describe a TPM that reports an algorithm it has no name for: Fapi_GetInfo fails with 0x6000b.
_SHA3_V1: Final = replace(
    _DEFAULT_V1,
    name="sha3-v1",
    algorithms=_DEFAULT_V1.algorithms | {ALG.SHA3_256, ALG.SHA3_384, ALG.SHA3_512},
)

# The TPM of version 185: what FIPS 203 and 204 brought, and the commands for it.
_PQC_V1: Final = replace(
    _DEFAULT_V1,
    name="pqc-v1",
    version=MESSAGE_SIGNING_VERSION,
    algorithms=_DEFAULT_V1.algorithms
    | {ALG.MLKEM, ALG.MLDSA, ALG.HASH_MLDSA, ALG.HKDF, ALG.EDDSA, ALG.HASH_EDDSA},
    ecc_curves=_DEFAULT_V1.ecc_curves | {ECC_CURVE.CURVE_25519, ECC_CURVE.CURVE_448},
    mlkem_parms=frozenset({MLKEM_PARMS.MLKEM_768, MLKEM_PARMS.MLKEM_1024}),
    mldsa_parms=frozenset({MLDSA_PARMS.MLDSA_44, MLDSA_PARMS.MLDSA_65, MLDSA_PARMS.MLDSA_87}),
)

# What FIPS 140-3 approves (SP 800-131A, 800-56A and B, 800-57): no SHA-1 for any purpose, none of
# the anonymous schemes, no PKCS#1 v1.5 encryption, no obfuscation instead of encryption. That does
# not make it a validated module, and it does not claim to be one (TPM_PT_MODES).
_FIPS_V1: Final = replace(
    _DEFAULT_V1.without(
        *("SHA1", "CAMELLIA", "XOR", "ECDAA", "ECSCHNORR", "RSAES", "KDF2"),
        *("CC_COMMIT", "CC_ECC_ENCRYPT", "CC_ECC_DECRYPT"),
    ),
    name="fips-v1",
)

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile for profile in (_DEFAULT_V1, _SHA3_V1, _FIPS_V1, _PQC_V1)
}
"""The profiles an instance can be manufactured with, by name."""


def check_implemented(profile: Profile) -> None:
    """Raise ImportError if a profile names anything that the tables of `crypto` lack.

    Otherwise the first guest to use it would end in failure mode.
    """
    implemented = profile.pcr_banks <= profile.hash_algs
    implemented &= profile.ecc_curves <= {*CURVES, *montgomery.CURVES}
    implemented &= profile.mlkem_parms <= set(mlkem.PARAMETER_SETS)
    implemented &= profile.mldsa_parms <= set(mldsa.PARAMETER_SETS)
    for alg, sizes in profile.key_bits.items():
        if alg != ALG.RSA:
            implemented &= alg in CIPHERS and sizes <= CIPHERS[alg].key_bits
    if not implemented:
        raise ImportError(
            f"profile {profile.name} names a hash, cipher, curve or parameter set that is not there"
        )


for _profile in PROFILES.values():
    check_implemented(_profile)


@lru_cache
def named(name: str) -> Profile:
    """The profile of a name, with its restrictions. Raises ProfileError."""
    base, _, restrictions = name.partition(" without ")
    profile = PROFILES.get(base)
    if profile is None:
        raise ProfileError(f"unknown profile {base!r}: there are {', '.join(PROFILES)}")
    return profile.without(*restrictions.split()) if restrictions else profile
