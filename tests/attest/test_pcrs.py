"""Files with PCR values: what other programs write is read, anything else refused."""

import json
import struct
from random import Random

import pytest

from tests.attest.made import SHA1, SHA256, SHA384
from vtpmd.attest.errors import MalformedError
from vtpmd.attest.pcrs import PcrValues, Selection, parse_values

VALUES: PcrValues = {
    SHA256: {index: bytes([index]) * 32 for index in (0, 7, 16)},
    SHA1: {index: bytes([index]) * 20 for index in range(10)},
}
SELECTION: Selection = tuple((alg, tuple(sorted(bank))) for alg, bank in VALUES.items())


def serialized(values: PcrValues) -> bytes:
    """tpm2-tools' structures in memory, as `tpm2_quote -o` writes them by default."""
    banks = b"".join(
        struct.pack("<HB4sx", alg, 3, sum(1 << index for index in bank).to_bytes(4, "little"))
        for alg, bank in values.items()
    )
    digests = [bank[index] for bank in values.values() for index in sorted(bank)]
    lists = [digests[at : at + 8] for at in range(0, len(digests), 8)]
    return (
        struct.pack("<I", len(values))
        + banks.ljust(128, b"\xaa")
        + struct.pack("<I", len(lists))
        + b"".join(
            struct.pack("<I", len(each))
            + b"".join(struct.pack("<H64s", len(one), one) for one in each).ljust(528, b"\xaa")
            for each in lists
        )
    )


BARE = b"".join(VALUES[alg][index] for alg, indices in SELECTION for index in indices)
PRINTED = "".join(
    f"  {name}:\n" + "".join(f"    {i:<2}: 0x{VALUES[alg][i].hex().upper()}\n" for i in VALUES[alg])
    for name, alg in (("sha256", SHA256), ("sha1", SHA1))
)
BANKS = {
    name: {str(index): value.hex() for index, value in VALUES[alg].items()}
    for name, alg in (("sha256", SHA256), ("sha1", SHA1))
}


@pytest.mark.parametrize(
    "octets",
    [
        serialized(VALUES),
        BARE,
        PRINTED.encode(),
        json.dumps(BANKS).encode(),
        json.dumps({"banks": BANKS}).encode(),
    ],
    ids=["serialized", "values", "tpm2_pcrread", "json", "vtpmctl pcr"],
)
def test_what_others_write(octets: bytes) -> None:
    assert parse_values(octets, SELECTION) == VALUES


GOOD = serialized(VALUES)


@pytest.mark.parametrize(
    "octets",
    [
        *(b"", b"\xff", BARE[:-1], BARE + b"\0", GOOD[:-1], bytes(70_000), bytes(136)),
        GOOD[:4] + b"\xff\xff" + GOOD[6:],  # a bank that is none
        GOOD[:6] + b"\xff" + GOOD[7:],  # as many octets of selection
        GOOD[:7] + b"\xff\xff\xff\xff" + GOOD[11:],  # PCRs that there are not
        GOOD[:136] + b"\xff\xff\xff\xff" + GOOD[140:],  # 2^32 digests
        GOOD[:140] + b"\xff\xff" + GOOD[142:],  # of 64 KiB
        GOOD[:140] + b"\x1f\0" + GOOD[142:],
        *(b"{", b"[]", b"{}x", b'{"sha256": 1}', b'{"sha256": {"0": 1}}', b"[" * 60_000),
        *(b'{"sha0": {}}', b'{"sha256": {"24": "' + b"00" * 32 + b'"}}'),
        *(b'{"sha256": {"0": "00"}}', b'{"sha256": {"a": ""}}', b'{"banks": []}'),
        *(b"sha256", b"sha0:\n", b"0 : 0x00\n", b"sha256:\n 0 : 0x00\n"),
        *(b"sha256:\n 0 : 0x0\n", b"sha256:\n -1 : 0x00\n", b"sha256:\n 0: 0x\xff"),
        *(
            b'{"sha256": {"%s": "%s"}}' % (each, b"00" * 32)
            for each in (b"07", b" 7", b"+7", b"1_0")
        ),
        b'{"sha256": {"7": "%s", "7": "%s"}}' % (b"00" * 32, b"01" * 32),
        b'{"sha256": {}, "sha256": {"7": "%s"}}' % (b"01" * 32),
        b"sha256:\n0: 0x" + b"00" * 32 + b"\n0: 0x" + b"01" * 32 + b"\n",
    ],
)
def test_what_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_values(octets, SELECTION)


def test_changed_octets_raise_nothing_else() -> None:
    random = Random(1)
    for _ in range(3000):
        changed = bytearray(random.choice((GOOD, PRINTED.encode(), json.dumps(BANKS).encode())))
        for _ in range(random.choice((1, 2, 8))):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            values = parse_values(bytes(changed), ((SHA384, (1,)), *SELECTION))
        except MalformedError:
            continue
        assert all(0 <= index < 24 for bank in values.values() for index in bank)
