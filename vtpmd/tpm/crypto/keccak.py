"""The sponge under SHA-3, in Python (FIPS 202). A state is 25 lanes; lane (x, y) is x + 5y."""

from struct import iter_unpack

LANES = 25
SHA3_SUFFIX = 0x06
SHAKE_SUFFIX = 0x1F
"""The bits that set the functions apart, and the first bit of the padding."""
_MASK = (1 << 64) - 1
_State = tuple[int, ...]


def _rotation_offsets() -> tuple[int, ...]:
    """Offsets of rho (3.2.2)."""
    offsets = [0] * LANES
    x, y = 1, 0
    for t in range(24):
        offsets[x + 5 * y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return tuple(offsets)


def _round_constants() -> tuple[int, ...]:
    """The constants of iota (3.2.5), from its linear feedback register."""
    constants, register = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if register & 1:
                constant |= 1 << (1 << j) - 1
            register = register << 1 ^ (0x171 if register & 0x80 else 0)
        constants.append(constant)
    return tuple(constants)


_RHO = _rotation_offsets()
_IOTA = _round_constants()
_PI = tuple(
    ((x + 3 * y) % 5 + 5 * x, _RHO[(x + 3 * y) % 5 + 5 * x]) for y in range(5) for x in range(5)
)
"""For every lane after pi: its source lane and that lane's rotation."""

_CHI = tuple(
    (lane, lane - lane % 5 + (lane + 1) % 5, lane - lane % 5 + (lane + 2) % 5)
    for lane in range(LANES)
)


def _permuted(lanes: list[int]) -> list[int]:
    """Keccak-f[1600]: 24 rounds of theta, rho, pi, chi and iota (3.3)."""
    for constant in _IOTA:
        column = [
            lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]
            for x in range(5)
        ]
        theta = [
            column[x - 1] ^ ((column[x - 4] << 1 | column[x - 4] >> 63) & _MASK) for x in range(5)
        ]
        moved = []
        for source, offset in _PI:
            lane = lanes[source] ^ theta[source % 5]
            moved.append((lane << offset | lane >> 64 - offset) & _MASK)
        lanes = [moved[a] ^ (~moved[b] & moved[c]) for a, b, c in _CHI]
        lanes[0] ^= constant
    return lanes


def absorb(rate: int, state: _State, blocks: bytes) -> _State:
    """`state` after whole blocks of `rate` octets (section 4)."""
    lanes = list(state)
    for words in iter_unpack(f"<{rate // 8}Q", blocks):
        for i, word in enumerate(words):
            lanes[i] ^= word
        lanes = _permuted(lanes)
    return tuple(lanes)


def padding(rate: int, suffix: int, total: int) -> bytes:
    """What follows a message of `total` octets: suffix and pad10*1 (5.1, 6.1 and 6.2)."""
    octets = bytearray(rate - total % rate)
    octets[0] = suffix
    octets[-1] |= 0x80
    return bytes(octets)
