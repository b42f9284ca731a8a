"""Random choices that depend only on what they are about, never on when they are asked for.

Every building, street and photograph draws from a generator seeded by the city's seed and its own
coordinates. So any worker can render any place, in any order, and get the same bytes.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Arrays of any shape; where it matters, the functions of this package say which.
Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

_MASK = (1 << 64) - 1


def mix(*keys: int) -> int:
    """Return 64 well-mixed bits of the integers ``keys`` (splitmix64, one round per key)."""
    state = 0x9E3779B97F4A7C15
    for key in keys:
        state = (state + (key & _MASK) * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def unit(*keys: int) -> float:
    """Return a number in [0, 1) that depends only on ``keys``."""
    return (mix(*keys) >> 11) / (1 << 53)


def generator(*keys: int) -> np.random.Generator:
    """Return a random generator that depends only on ``keys``."""
    return np.random.Generator(np.random.PCG64(mix(*keys)))


@lru_cache(maxsize=1)
def noise_tile() -> Floats:
    """Return a seamless cloud-like texture: (256, 256), values about 0 to 1, mean 0.5."""
    size = 256
    white = generator(77).standard_normal((size, size))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    spectrum = np.fft.rfft2(white) / np.maximum(frequency, 1.5) ** 1.25
    spectrum[0, 0] = 0.0
    tile = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(np.clip(0.5 + tile / (5.0 * tile.std()), 0.0, 1.0), np.float32)


def smooth_noise(x: Floats, y: Floats) -> Floats:
    """Return the tile's values at fractional positions (N,), bilinear between its texels."""
    left, top = np.floor(x), np.floor(y)
    right_share, low_share = x - left, y - top
    column, row = left.astype(np.intp) & 255, (top.astype(np.intp) & 255) << 8
    next_column, next_row = (column + 1) & 255, (row + 256) & 0xFFFF
    texels = noise_tile().ravel()
    upper = texels.take(row + column)
    upper += right_share * (texels.take(row + next_column) - upper)
    lower = texels.take(next_row + column)
    lower += right_share * (texels.take(next_row + next_column) - lower)
    return np.asarray(upper + low_share * (lower - upper), np.float32)
