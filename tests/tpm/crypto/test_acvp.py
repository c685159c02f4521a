"""Keys from seeds, against vectors of NIST's ACVP server (usnistgov/ACVP-Server, public domain).

Of each private key that NIST gives, what is hashed from the public key: rho and tr of ML-DSA
(FIPS 204, Algorithm 6), and H(ek) of ML-KEM (FIPS 203, Algorithm 16).
"""

import hashlib

import pytest

from vtpmd.tpm.crypto import mldsa, mlkem
from vtpmd.tpm.wire.constants import MLDSA_PARMS, MLKEM_PARMS

MLDSA = {
    "ML-DSA-65 26": (
        MLDSA_PARMS.MLDSA_65,
        "8AB6448BF58F897D528A8DE9F8E59329AC929A9CDE7EDF3E27E01BC9EF128A67",
        "49DE190622B0681761A9DB044015BF812760429001FDFF5FC897166546277E84",
        "B2B87C49F3E51E4C76C8EDF276174B9EBE99228B1BEAD73FDE09D114795B8275"
        "598163B433A79712726320692FFCA1DBD70F68689A3D5BFD21BFE3F3852673B0",
    ),
    "ML-DSA-87 75": (
        MLDSA_PARMS.MLDSA_87,
        "3279A4C57AC3BE890F70124D56AB882461D108B28EF6BA973C00A24E9575246A",
        "6024AB912297D408F9C81113BD0E9F61D0F5CFE6DED2180A969567DBCBD3FA1E",
        "EFCC60FE6C5CB82E3BA82B5DECF752C8403C5E742480346F1ACC2FCDC77C7389"
        "0EA47AD2C9FAFCFAF5101D5FF7A3B9E1589FDCADE77564F0C32CB78A220AB9DF",
    ),
}
MLKEM = {
    "ML-KEM-1024 75": (
        MLKEM_PARMS.MLKEM_1024,
        "E81D3AC5B001861ED765F7960E63EC311D97110F2135E97ABEFD7A6664165B93"
        "0D79C9327545DC957BC15C193974585740E58BB95BB52AB24FAF0B8C9601DF34",
        "A774D27B8A7B72200A560150C5B9CD86F35FD766B0C93A49108F2416599CF236",
    ),
    "ML-KEM-1024 75, earlier": (
        MLKEM_PARMS.MLKEM_1024,
        "F7D7A6F3741E6B5B20CEA69F633DB4F50342D478FF46F9BDCAE3D74945188087"
        "8209C8E0D7A8E899B0C8B2FE33996EED0D343291FEE2BCC0B77D9B5DB71C24D2",
        "65774F16395D73C56719D9AE1F12374CD70DCC17EEF7A0F4F097E43E991160CC",
    ),
}
"""Seeds are d || z."""


@pytest.mark.parametrize("vector", MLDSA.values(), ids=MLDSA.keys())
def test_mldsa_keys(vector: tuple[int, str, str, str]) -> None:
    parms, seed, rho, tr = vector
    public = mldsa.public_key(parms, bytes.fromhex(seed))
    assert public[:32] == bytes.fromhex(rho)
    assert hashlib.shake_256(public).digest(64) == bytes.fromhex(tr)


@pytest.mark.parametrize("vector", MLKEM.values(), ids=MLKEM.keys())
def test_mlkem_keys(vector: tuple[int, str, str]) -> None:
    parms, seed, hashed = vector
    public = mlkem.public_key(parms, bytes.fromhex(seed))
    assert hashlib.sha3_256(public).digest() == bytes.fromhex(hashed)
