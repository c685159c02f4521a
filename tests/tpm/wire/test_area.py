"""The reader of a command's handles or parameters: values in order, errors with their position."""

import pytest

from vtpmd.tpm.profile import PROFILES
from vtpmd.tpm.rc import RC, TpmError
from vtpmd.tpm.wire.area import Area
from vtpmd.tpm.wire.base import TPM2B_DIGEST, TPML_DIGEST_VALUES
from vtpmd.tpm.wire.interface import TPMI_ALG_HASH, TPMI_YES_NO, UINT16
from vtpmd.tpm.wire.structure import kind_of

PROFILE = PROFILES["default-v1"]


def _area(position: object = TpmError.parameter) -> Area:
    """The names are such that temporary names made of one would be another's."""
    hints = {"data_size": UINT16, "data": TPM2B_DIGEST, "yes": TPMI_YES_NO, "alg": TPMI_ALG_HASH}
    return Area("test", {name: kind_of(hint) for name, hint in hints.items()}, position)  # type: ignore[arg-type]


GOOD = bytes.fromhex("1234 0003 616263 01 000b")


def test_values_come_in_order_from_any_offset() -> None:
    area = _area()
    for _ in range(2):  # once compiled, once more
        assert area.read(GOOD, 0, PROFILE) == ((0x1234, b"abc", 1, 0x000B), len(GOOD))
        assert area.read(b"\0" + GOOD + b"\0", 1, PROFILE)[1] == len(GOOD) + 1
    assert area.names == ("data_size", "data", "yes", "alg")


def test_an_area_of_nothing() -> None:
    assert Area("nothing", {}, TpmError.parameter).read(GOOD, 4, PROFILE) == ((), 4)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (GOOD[:0], RC.INSUFFICIENT | 0x140),
        (GOOD[:1], RC.INSUFFICIENT | 0x140),
        (GOOD[:3], RC.INSUFFICIENT | 0x240),
        (GOOD[:6], RC.INSUFFICIENT | 0x240),
        (GOOD[:7], RC.INSUFFICIENT | 0x340),
        (GOOD[:9], RC.INSUFFICIENT | 0x440),
        (bytes.fromhex("1234 0041") + bytes(80), RC.SIZE | 0x240),
        (bytes.fromhex("1234 0000 02"), RC.VALUE | 0x340),
        (bytes.fromhex("1234 0000 01 0010"), RC.HASH | 0x440),
    ],
)
def test_the_first_that_is_refused_is_named(octets: bytes, code: int) -> None:
    with pytest.raises(TpmError) as refused:
        _area().read(octets, 0, PROFILE)
    assert refused.value.code == code
    with pytest.raises(TpmError) as refused:
        _area(TpmError.handle).read(octets, 0, PROFILE)
    assert refused.value.code == code & ~0x40


def test_an_error_deep_inside_is_that_of_its_parameter() -> None:
    area = Area("deep", {"digests": kind_of(TPML_DIGEST_VALUES)}, TpmError.parameter)
    for octets, code in (("00000001 0006", RC.HASH), ("00000001 000b 00", RC.INSUFFICIENT)):
        with pytest.raises(TpmError) as refused:
            area.read(bytes.fromhex(octets), 0, PROFILE)
        assert refused.value.code == code | 0x140
