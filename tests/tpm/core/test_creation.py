"""Remembered primaries, and what they depend on (Part 1, clause 24)."""

import pytest

from tests.tpm import areas
from tests.tpm.areas import OWN, SIGN, STORAGE
from vtpmd.tpm.core import creation
from vtpmd.tpm.core.creation import PRIMARY_CACHE_SIZE, primary_object
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.state import Hierarchy, LoadedObject, Tpm
from vtpmd.tpm.wire.constants import RH
from vtpmd.tpm.wire.objects import TPMT_PUBLIC

RSA = areas.rsa(OWN | SIGN)
ECC = areas.storage()


def derive(tpm: Tpm, hierarchy: Hierarchy, octets: bytes, data: bytes = b"") -> LoadedObject:
    template = TPMT_PUBLIC.parse(octets, tpm.profile)
    return primary_object(tpm, hierarchy, template, b"auth", data)


def test_a_primary_is_derived_once(tpm: Tpm) -> None:
    first = derive(tpm, tpm.permanent.owner, RSA)
    again = derive(tpm, tpm.permanent.owner, RSA)
    assert first.rsa_key is not None
    assert again.rsa_key is first.rsa_key
    assert again == first
    assert again is not first
    assert again.public is not first.public


def test_what_is_remembered_is_what_would_be_derived(tpm: Tpm) -> None:
    remembered = derive(tpm, tpm.permanent.owner, ECC, b"data")
    tpm.primary_cache.clear()
    assert derive(tpm, tpm.permanent.owner, ECC, b"data") == remembered


def test_everything_a_primary_depends_on_tells_it_apart(tpm: Tpm) -> None:
    permanent = tpm.permanent
    found = [derive(tpm, permanent.owner, ECC).name]
    found.append(derive(tpm, permanent.owner, ECC, b"data").name)
    found.append(derive(tpm, permanent.platform, ECC).name)
    found.append(derive(tpm, permanent.owner, areas.storage(OWN | areas.ST_CLEAR)).name)
    permanent.owner.seed = bytes(64)
    found.append(derive(tpm, permanent.owner, ECC).name)
    assert len(set(found)) == len(found)


def test_the_seed_value_of_an_ek_depends_on_the_proofs(tpm: Tpm) -> None:
    permanent = tpm.permanent

    def areas_of_ek() -> tuple[bytes, bytes]:
        key = derive(tpm, permanent.endorsement, ECC)
        assert key.sensitive is not None
        return key.name, key.sensitive.seed_value

    name, seed_value = areas_of_ek()
    permanent.owner.proof = bytes(64)
    other_name, other_seed_value = areas_of_ek()
    assert other_name == name
    assert other_seed_value != seed_value
    permanent.endorsement.proof = bytes(64)
    assert areas_of_ek()[1] not in (seed_value, other_seed_value)


def test_only_the_last_ones_are_remembered(tpm: Tpm) -> None:
    derive(tpm, tpm.permanent.owner, ECC)
    (first,) = tpm.primary_cache
    for number in range(PRIMARY_CACHE_SIZE - 1):
        derive(tpm, tpm.permanent.owner, ECC, bytes((number + 1,)))
    derive(tpm, tpm.permanent.owner, ECC)
    derive(tpm, tpm.permanent.owner, ECC, b"one more")
    assert len(tpm.primary_cache) == PRIMARY_CACHE_SIZE
    assert first in tpm.primary_cache


def test_nothing_is_remembered_of_a_canceled_search(tpm: Tpm) -> None:
    tpm.canceled = True
    with pytest.raises(TpmError) as error:
        derive(tpm, tpm.permanent.owner, RSA)
    assert error.value.code == RC.CANCELED
    assert not tpm.primary_cache


def test_no_secret_shows(tpm: Tpm) -> None:
    key = derive(tpm, tpm.permanent.owner, RSA)
    assert key.sensitive is not None
    shown = repr(key) + repr(key.sensitive) + repr(tpm.primary_cache)
    assert repr(key.sensitive.sensitive) not in shown
    assert key.sensitive.sensitive.hex() not in shown
    assert "auth" not in repr(key.sensitive).replace("auth_value", "")


@pytest.mark.parametrize(
    ("given", "kept"), [(b"", b""), (b"a\0", b"a"), (bytes(64), b""), (b"\0a", b"\0a")]
)
def test_authorization_values_are_stripped(given: bytes, kept: bytes) -> None:
    assert creation.authorization_value(given, 0x000B, "in_sensitive") == kept


def test_st_clear_and_the_hierarchy_are_inherited(tpm: Tpm) -> None:
    parent = derive(tpm, tpm.permanent.owner, areas.storage(OWN | areas.ST_CLEAR))
    template = TPMT_PUBLIC.parse(areas.storage(OWN), tpm.profile)
    child = creation.ordinary_object(tpm, parent, template, b"", b"")
    assert [(made.hierarchy, made.st_clear) for made in (parent, child)] == [(RH.OWNER, True)] * 2
    null = derive(tpm, tpm.reset.null, areas.ecc(OWN | STORAGE, symmetric=areas.AES_128_CFB))
    assert (null.hierarchy, null.st_clear) == (RH.NULL, False)
