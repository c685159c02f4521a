"""ML-KEM against an implementation in pure Python, each on either side."""

import os

import pytest
from kyber_py.ml_kem import ML_KEM_768, ML_KEM_1024

from vtpmd.tpm.crypto import mlkem
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.constants import MLKEM_PARMS

ORACLES = {MLKEM_PARMS.MLKEM_768: ML_KEM_768, MLKEM_PARMS.MLKEM_1024: ML_KEM_1024}
SIZES = {MLKEM_PARMS.MLKEM_768: (1184, 1088), MLKEM_PARMS.MLKEM_1024: (1568, 1568)}
"""Of public keys and ciphertexts, from Part 2, table 205."""
every_set = pytest.mark.parametrize("parms", ORACLES, ids=lambda parms: str(parms.name))


def test_every_set_is_tried() -> None:
    assert set(ORACLES) == set(mlkem.PARAMETER_SETS)


@every_set
def test_keys_are_those_of_their_seed(parms: int) -> None:
    seed = os.urandom(64)
    public, _ = ORACLES[MLKEM_PARMS(parms)]._keygen_internal(seed[:32], seed[32:])
    assert mlkem.public_key(parms, seed) == public
    assert mlkem.is_public_key(parms, public)
    assert len(public) == SIZES[MLKEM_PARMS(parms)][0] == mlkem.PARAMETER_SETS[parms].public_size


@every_set
def test_the_oracle_encapsulates(parms: int) -> None:
    seed = os.urandom(64)
    shared, ciphertext = ORACLES[MLKEM_PARMS(parms)].encaps(mlkem.public_key(parms, seed))
    assert mlkem.decapsulate(parms, mlkem.private_key(parms, seed), ciphertext) == shared


@every_set
def test_the_oracle_decapsulates(parms: int) -> None:
    seed, oracle = os.urandom(64), ORACLES[MLKEM_PARMS(parms)]
    public, private = oracle._keygen_internal(seed[:32], seed[32:])
    shared, ciphertext = mlkem.encapsulate(mlkem.decoded(parms, public))
    assert oracle.decaps(private, ciphertext) == shared
    assert len(ciphertext) == SIZES[MLKEM_PARMS(parms)][1]
    assert mlkem.encapsulate(mlkem.decoded(parms, public)) != (shared, ciphertext)


@every_set
def test_a_changed_ciphertext_gives_what_only_the_holder_can_know(parms: int) -> None:
    """FIPS 203, Algorithm 18, lines 8 to 11: implicit rejection."""
    seed, oracle = os.urandom(64), ORACLES[MLKEM_PARMS(parms)]
    public, private = oracle._keygen_internal(seed[:32], seed[32:])
    shared, ciphertext = mlkem.encapsulate(mlkem.decoded(parms, public))
    changed = bytes((ciphertext[0] ^ 1,)) + ciphertext[1:]
    assert (
        mlkem.decapsulate(parms, mlkem.private_key(parms, seed), changed)
        == oracle.decaps(private, changed)
        != shared
    )


@every_set
@pytest.mark.parametrize("fault", ["short", "long", "modulus"])
def test_what_is_no_encapsulation_key(parms: int, fault: str) -> None:
    """FIPS 203, 7.2: of the right size, and every coefficient below the modulus."""
    public = mlkem.public_key(parms, bytes(64))
    wrong = {
        "short": public[:-1],
        "long": public + b"\0",
        # The first of the coefficients, of 12 bits each, is 3329.
        "modulus": b"\x01" + bytes((public[1] & 0xF0 | 0x0D,)) + public[2:],
    }[fault]
    assert not mlkem.is_public_key(parms, wrong)
    with pytest.raises(TpmError) as refused:
        mlkem.decoded(parms, wrong)
    assert refused.value.code == RC.KEY


@every_set
@pytest.mark.parametrize("change", [-1, 1])
def test_ciphertexts_of_another_size(parms: int, change: int) -> None:
    size = mlkem.PARAMETER_SETS[parms].ciphertext_size
    with pytest.raises(TpmError) as refused:
        mlkem.decapsulate(parms, mlkem.private_key(parms, bytes(64)), bytes(size + change))
    assert refused.value.code == RC.SIZE
