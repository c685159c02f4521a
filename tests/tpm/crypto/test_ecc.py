"""Points, keys and exchanges against textbook arithmetic and the cryptography library."""

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import affine
from tests.tpm.crypto import library
from vtpmd.tpm.crypto import ecc
from vtpmd.tpm.crypto.ecc import CURVES, Curve, Point
from vtpmd.tpm.rc import RC, TpmError

every_curve = pytest.mark.parametrize(
    "curve", CURVES.values(), ids=lambda curve: str(curve.key_bits)
)
curves = st.sampled_from(list(CURVES.values()))


def scalars(curve: Curve) -> st.SearchStrategy[int]:
    near = [1, 2, 3, curve.n // 2, curve.n - 3, curve.n - 2, curve.n - 1]
    return st.one_of(st.sampled_from(near), st.integers(1, curve.n - 1))


def code(action: Callable[..., object], *arguments: object) -> int:
    """The response code of a call that fails."""
    with pytest.raises(TpmError) as error:
        action(*arguments)
    return error.value.code


@every_curve
def test_parameters(curve: Curve) -> None:
    theirs = library.CURVES[curve.curve_id]
    assert curve.key_bits == theirs.key_size == curve.p.bit_length() == curve.n.bit_length()
    assert curve.n == theirs.group_order
    generator = ec.derive_private_key(1, theirs).public_key().public_numbers()
    assert curve.g == (generator.x, generator.y)
    assert curve.contains(curve.g)
    assert affine.multiply(curve.p, curve.n, curve.g) is None
    assert (curve.a + 3) % curve.p == 0
    assert curve.octets(1) == bytes(curve.size - 1) + b"\1"


@every_curve
def test_points_off_the_curve(curve: Curve) -> None:
    x, y = curve.g
    for point in (
        Point(x, y + 1),
        Point(x + 1, y),
        Point(0, 0),
        Point(x + curve.p, y),
        Point(x, y - curve.p),
        Point(x, y + curve.p),
        Point(curve.p, 0),
    ):
        assert not curve.contains(point)
        assert code(curve.check, point) == RC.ECC_POINT
        assert code(ecc.multiply, curve, 5, point) == RC.ECC_POINT


@settings(deadline=None, max_examples=60)
@given(data=st.data(), curve=curves)
def test_multiply_and_add(data: st.DataObject, curve: Curve) -> None:
    d, k = data.draw(scalars(curve)), data.draw(scalars(curve))
    public = ecc.public_point(curve, k)
    assert public == affine.multiply(curve.p, k, curve.g)
    assert ecc.multiply(curve, d, public) == affine.multiply(curve.p, d, public)
    other = ecc.public_point(curve, d)
    total = affine.add(curve.p, public, other)
    if total is None:
        assert code(ecc.add, curve, public, other) == RC.NO_RESULT
    else:
        assert ecc.add(curve, public, other) == total


@every_curve
def test_multiples_of_the_order_give_no_result(curve: Curve) -> None:
    for scalar in (0, curve.n, 2 * curve.n):
        assert code(ecc.multiply, curve, scalar, curve.g) == RC.NO_RESULT
        assert code(ecc.public_point, curve, scalar) == RC.NO_RESULT


@every_curve
def test_private_keys_come_from_extra_bits(curve: Curve) -> None:
    size = curve.size + 8
    for drawn in (bytes(size), b"\xff" * size, (curve.n - 2).to_bytes(size, "big")):
        asked: list[int] = []

        def octets(count: int, drawn: bytes = drawn, asked: list[int] = asked) -> bytes:
            asked.append(count)
            return drawn

        d = ecc.private_key(curve, octets)
        assert asked == [size]
        assert 0 < d < curve.n
        assert (d - 1 - int.from_bytes(drawn, "big")) % (curve.n - 1) == 0


@every_curve
def test_pairs(curve: Curve) -> None:
    d = ecc.private_key(curve, library.entropy)
    public = ecc.public_point(curve, d)
    ecc.check_pair(curve, d, public)
    assert code(ecc.check_pair, curve, d, curve.g) == RC.BINDING
    for other in (0, curve.n, d + curve.n, curve.n - d):
        assert code(ecc.check_pair, curve, other, public) == RC.BINDING


@every_curve
def test_both_parties_of_a_two_phase_exchange_agree(curve: Curve) -> None:
    keys = [ecc.private_key(curve, library.entropy) for _ in range(4)]
    points = [ecc.public_point(curve, d) for d in keys]
    one = (keys[0], keys[1], points[2], points[3])
    other = (keys[2], keys[3], points[0], points[1])
    assert ecc.full_unified_model(curve, *one) == ecc.full_unified_model(curve, *other)
    assert ecc.full_unified_model(curve, *one)[1] == affine.multiply(curve.p, keys[1], points[3])


@every_curve
def test_exchange_with_a_point_off_the_curve(curve: Curve) -> None:
    bad = Point(curve.g.x, curve.g.y + 1)
    for static, ephemeral in ((bad, curve.g), (curve.g, bad)):
        assert code(ecc.full_unified_model, curve, 5, 7, static, ephemeral) == RC.ECC_POINT
