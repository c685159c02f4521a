"""GetRandom, StirRandom, Hash and the PCR commands."""

import hashlib

import pytest

from tests.conformance.tools import Tools

RC_LOCALITY = 0x907
BANKS = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


def pcr(tools: Tools, bank: str, index: int) -> bytes:
    tools(f"pcrread -Q {bank}:{index} -o pcr.bin")
    return tools.read("pcr.bin")


def test_random_numbers_have_the_length_and_do_not_repeat(tools: Tools) -> None:
    drawn = [tools("getrandom 32") for _ in range(4)]
    assert {len(numbers) for numbers in drawn} == {32}
    assert len(set(drawn)) == 4


def test_stirring_the_random_numbers_is_accepted(tools: Tools) -> None:
    tools("stirrandom", given=b"e" * 64)
    assert tools("getrandom 16") != tools("getrandom 16")


@pytest.mark.parametrize("bank", BANKS)
def test_pcrs_begin_as_the_pc_client_profile_says(tools: Tools, bank: str) -> None:
    size = BANKS[bank]
    assert pcr(tools, bank, 0) == bytes(size)
    assert pcr(tools, bank, 16) == bytes(size)
    assert pcr(tools, bank, 17) == b"\xff" * size
    assert pcr(tools, bank, 22) == b"\xff" * size
    assert pcr(tools, bank, 23) == bytes(size)


@pytest.mark.parametrize("bank", BANKS)
def test_extending_a_pcr_hashes_old_value_and_digest(tools: Tools, bank: str) -> None:
    digest = hashlib.new(bank, b"measured").digest()
    expected = bytes(len(digest))
    for _ in range(2):
        tools(f"pcrextend 8:{bank}={digest.hex()}")
        expected = hashlib.new(bank, expected + digest).digest()
        assert pcr(tools, bank, 8) == expected


def test_an_event_extends_every_bank_by_its_own_hash(tools: Tools) -> None:
    tools.write("event", b"something happened " * 100)
    said = tools.text("pcrevent 9 event")
    for bank, size in BANKS.items():
        digest = hashlib.new(bank, tools.read("event")).digest()
        assert f"{bank}: {digest.hex()}" in said
        assert pcr(tools, bank, 9) == hashlib.new(bank, bytes(size) + digest).digest()


def test_only_the_resettable_pcrs_can_be_reset(tools: Tools) -> None:
    tools(f"pcrextend 16:sha256={'11' * 32} 23:sha256={'22' * 32} 0:sha256={'33' * 32}")
    assert any(pcr(tools, "sha256", 16))
    assert any(pcr(tools, "sha256", 23))
    before = pcr(tools, "sha256", 0)
    tools("pcrreset 16")
    tools("pcrreset 23")
    assert not any(pcr(tools, "sha256", 16))
    assert not any(pcr(tools, "sha256", 23))
    tools.refused(RC_LOCALITY, "pcrreset 0")
    assert pcr(tools, "sha256", 0) == before


def test_a_pcr_of_locality_4_is_not_for_locality_0(tools: Tools) -> None:
    tools.refused(RC_LOCALITY, f"pcrextend 17:sha256={'11' * 32}")
    assert pcr(tools, "sha256", 17) == b"\xff" * 32


@pytest.mark.parametrize("algorithm", BANKS)
@pytest.mark.parametrize("size", [0, 1, 1024, 5000])
def test_hashes_are_those_of_the_standard_library(tools: Tools, algorithm: str, size: int) -> None:
    tools.write("data", b"d" * size)  # 5000: more than one command can carry, so a sequence
    assert tools.text(f"hash -C n -g {algorithm} --hex data").strip() == (
        hashlib.new(algorithm, tools.read("data")).hexdigest()
    )
