"""Secrets, signatures and message representatives, against what others have published.

`known_answers.json`: the first of each file in `asymmetric/MLKEM` and `asymmetric/MLDSA` of the
package cryptography-vectors 50.0.2 (Apache-2.0 or BSD-3-Clause), without what follows from the
seed. Representatives: C2SP's Wycheproof (Apache-2.0), `mldsa_44_sign_seed_test.json`, 1 and 3.
"""

import json
from pathlib import Path

import pytest

from vtpmd.tpm.crypto import mldsa, mlkem
from vtpmd.tpm.wire.constants import MLDSA_PARMS, MLKEM_PARMS

ANSWERS = {
    name: {field: bytes.fromhex(value) for field, value in answer.items()}
    for name, answer in json.loads(
        Path(__file__).with_name("known_answers.json").read_text()
    ).items()
}
KEMS = {"ML-KEM-768": MLKEM_PARMS.MLKEM_768, "ML-KEM-1024": MLKEM_PARMS.MLKEM_1024}
SIGNERS = {
    "ML-DSA-44": MLDSA_PARMS.MLDSA_44,
    "ML-DSA-65": MLDSA_PARMS.MLDSA_65,
    "ML-DSA-87": MLDSA_PARMS.MLDSA_87,
}
REPRESENTATIVES = {
    b"": "0ba2d90bc4fa5877844e47f7563eefccf658f898eaf4197b2a9a89d3df683955"
    "c73a80895ac0a51cc9049d44cdc1d1c550ef3870c1126afdb3d52ee057cbbcdd",
    b"Context": "0d0caf274821366fe709a21d32c0d37eaa97ca009200d4e3c853aa7acf89b47e"
    "0a93789e3c9fa2da222977468551ed8432566b01d1b1383da384894302133b20",
}


@pytest.mark.parametrize("name", KEMS)
def test_secrets(name: str) -> None:
    """Of a ciphertext, and of one that was not made for the key."""
    answer, parms = ANSWERS[name], KEMS[name]
    key = mlkem.private_key(parms, answer["seed"])
    assert mlkem.decapsulate(parms, key, answer["ciphertext"]) == answer["secret"]
    assert mlkem.decapsulate(parms, key, answer["damaged ciphertext"]) == answer["its secret"]


@pytest.mark.parametrize("name", SIGNERS)
def test_signatures(name: str) -> None:
    answer, parms = ANSWERS[name], SIGNERS[name]
    public = mldsa.public_key(parms, answer["seed"])
    running = mldsa.running_mu(public, answer["context"])
    running.update(answer["message"])
    mu, key = running.digest(), mldsa.decoded(parms, public)
    assert mldsa.verify(key, mu, answer["signature"])
    assert not mldsa.verify(key, mu, answer["signature"][:-1] + b"\1")


@pytest.mark.parametrize("context", REPRESENTATIVES)
def test_representatives(context: bytes) -> None:
    public = mldsa.public_key(MLDSA_PARMS.MLDSA_44, b"*" * 32)
    running = mldsa.running_mu(public, context)
    running.update(b"Hello ")
    running.update(b"world")
    assert running.digest().hex() == REPRESENTATIVES[context]
