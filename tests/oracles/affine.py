"""Textbook elliptic curve arithmetic, slow and independent of vtpmd; None is the neutral point."""

Affine = tuple[int, int] | None


def add(p: int, first: Affine, second: Affine) -> Affine:
    """The sum of two points of a curve with a = -3 over the field of `p` elements."""
    if first is None or second is None:
        return first or second
    (x1, y1), (x2, y2) = first, second
    if x1 == x2 and (y1 + y2) % p == 0:
        return None
    if x1 == x2:
        slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, p)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, p)
    x3 = (slope * slope - x1 - x2) % p
    return x3, (slope * (x1 - x3) - y1) % p


def multiply(p: int, scalar: int, point: Affine) -> Affine:
    """`scalar` times `point` by doubling and adding."""
    result: Affine = None
    while scalar:
        if scalar & 1:
            result = add(p, result, point)
        point = add(p, point, point)
        scalar >>= 1
    return result
