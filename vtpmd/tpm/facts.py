"""What is constant about TPMs: the names to choose from, and what each of them reports."""

from dataclasses import dataclass

from .core.properties import FIRMWARE_VERSION, MANUFACTURER
from .crypto.hashes import HASHES
from .profile import PROFILES, Profile
from .schema import field_names, retired_names
from .snapshot import VERSION
from .state import StoredState, SuspendedState
from .wire.constants import ALG, SPEC_FAMILY, SPEC_LEVEL, SPEC_VERSION


@dataclass(frozen=True, slots=True)
class Facts:
    """What a TPM reports about itself and never changes.

    `manufacturer` and `version` are as in the EK certificate, eight hexadecimal digits each;
    key sizes are in bits.
    """

    family: str
    level: int
    revision: int
    manufacturer: str
    version: str
    model: str
    rsa_key_sizes: tuple[int, ...]
    camellia_key_sizes: tuple[int, ...]
    profile: str


@dataclass(frozen=True, slots=True)
class StateFormat:
    """The version of the encoded state, its fields (`Class.field`) as this version writes them, and
    those of older states that it reads and passes over."""

    version: int
    fields: tuple[str, ...]
    retired: tuple[str, ...]


def facts_of(profile: Profile) -> Facts:
    """The facts of a TPM with this profile."""
    return Facts(
        family=SPEC_FAMILY.to_bytes(4).rstrip(b"\0").decode(),
        level=SPEC_LEVEL,
        revision=SPEC_VERSION,
        manufacturer=MANUFACTURER.hex().upper(),
        version=f"{FIRMWARE_VERSION[0]:08X}",
        model="vtpmd",
        rsa_key_sizes=tuple(sorted(profile.rsa_key_bits)),
        camellia_key_sizes=tuple(sorted(profile.key_bits.get(ALG.CAMELLIA, ()))),
        profile=profile.name,
    )


def profile_names() -> tuple[str, ...]:
    """The names of the profiles, each of which may be restricted by "without"."""
    return tuple(PROFILES)


def bank_names() -> tuple[str, ...]:
    """The names of the PCR banks that a TPM of any profile can have."""
    banks = frozenset().union(*(profile.pcr_banks for profile in PROFILES.values()))
    return tuple(HASHES[bank].name for bank in sorted(banks))


def rsa_key_sizes() -> tuple[int, ...]:
    """The sizes in bits of the RSA keys that a TPM of any profile can have."""
    sizes = frozenset().union(*(profile.rsa_key_bits for profile in PROFILES.values()))
    return tuple(sorted(sizes))


def state_format() -> StateFormat:
    """How permanent and volatile state are encoded."""
    return StateFormat(
        version=VERSION,
        fields=tuple(sorted(field_names(StoredState) | field_names(SuspendedState))),
        retired=tuple(sorted(retired_names())),
    )
