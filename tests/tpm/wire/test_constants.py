"""Constants are ints, unique but for the aliases of the tables, and agree with hashlib."""

import hashlib
from enum import IntEnum

import pytest

from vtpmd.tpm.wire import constants
from vtpmd.tpm.wire.attributes import TPMA_NV, TPMA_OBJECT
from vtpmd.tpm.wire.constants import ALG, CC, CLOCK_ADJUST, DIGEST_SIZES, HT

ENUMERATIONS = [
    found
    for found in vars(constants).values()
    if isinstance(found, type) and issubclass(found, IntEnum) and found is not IntEnum
]
ALIASES = {CC: {"MAC", "MAC_START"}, HT: {"LOADED_SESSION", "SAVED_SESSION"}}


@pytest.mark.parametrize("enumeration", ENUMERATIONS, ids=lambda e: str(e.__name__))
def test_only_known_aliases(enumeration: type[IntEnum]) -> None:
    aliases = {name for name, member in enumeration.__members__.items() if member.name != name}
    assert aliases == ALIASES.get(enumeration, set())


def test_members_work_as_keys_for_plain_ints() -> None:
    assert 0x000B in frozenset({ALG.SHA256})
    assert {CLOCK_ADJUST.FINE_SLOWER: "slower"}[-1] == "slower"  # type: ignore[index]


@pytest.mark.parametrize(
    ("alg", "name"),
    [
        (ALG.SHA1, "sha1"),
        (ALG.SHA256, "sha256"),
        (ALG.SHA384, "sha384"),
        (ALG.SHA512, "sha512"),
        (ALG.SHA3_256, "sha3_256"),
        (ALG.SHA3_384, "sha3_384"),
        (ALG.SHA3_512, "sha3_512"),
    ],
)
def test_digest_sizes(alg: ALG, name: str) -> None:
    assert DIGEST_SIZES[alg] == hashlib.new(name).digest_size


@pytest.mark.parametrize(("masks", "bits"), [(TPMA_OBJECT, 32), (TPMA_NV, 32)])
def test_every_bit_is_either_named_or_reserved(masks: type, bits: int) -> None:
    fields = {
        name: mask
        for name, mask in vars(masks).items()
        if isinstance(mask, int) and not name.endswith("_SHIFT")
    }
    assert sum(fields.values()) == (1 << bits) - 1
