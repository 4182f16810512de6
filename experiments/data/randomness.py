"""Random numbers that are a function of a key and a counter, and of nothing else.

Splits, subsets and glyphs must come out alike on every machine and under every numpy, in any order
and any batch; numpy keeps the right to change the streams of its generators (NEP 19).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(*parts: str | int) -> int:
    """Name a stream of random numbers: 64 bits that depend on every part."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def random_bits(key: int, counters: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Draw 64 random bits per counter. Within one key no value occurs twice.

    Args:
        key: The stream, from `stream_key`.
        counters: Positions in the stream, any shape, not negative.

    Source:
        SplitMix64: Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators.
    """
    state = np.atleast_1d(counters).astype(np.uint64)
    state += np.uint64(1)
    state *= _GOLDEN
    state += np.uint64(key)
    state ^= state >> np.uint64(30)
    state *= _MIX_1
    state ^= state >> np.uint64(27)
    state *= _MIX_2
    state ^= state >> np.uint64(31)
    return state.reshape(np.shape(counters))


def random_uniforms(key: int, counters: NDArray[np.integer]) -> NDArray[np.float64]:
    """Draw one number in [0, 1) per counter, a multiple of 2^-53."""
    return (random_bits(key, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def random_normals(key: int, rows: NDArray[np.int64], n_columns: int) -> NDArray[np.float32]:
    """Draw a row of nearly normal numbers, of mean 0 and variance 1, for each row number.

    Each is a sum of four bytes, so it is made of integers alone, the same on every machine, and it
    never exceeds 3.46 standard deviations: fit for pixel noise, not for the study of tails.

    Args:
        key: The stream, from `stream_key`.
        rows: Row numbers, shape (n,), not negative.
        n_columns: Numbers per row.

    Returns:
        Shape (n, n_columns).
    """
    n_words = (n_columns + 1) // 2
    counters = rows[:, None] * n_words + np.arange(n_words)
    bits = random_bits(key, counters)
    # Pairs of bytes are added within the word: 8 bytes -> 4 sums of 16 bits -> 2 sums of 32 bits.
    pairs = (bits & np.uint64(0x00FF00FF00FF00FF)) + ((bits >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF))
    fours = (pairs & np.uint64(0x0000FFFF0000FFFF)) + ((pairs >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF))
    halves = np.empty((*fours.shape, 2), dtype=np.float32)
    halves[..., 0] = fours & np.uint64(0xFFFFFFFF)
    halves[..., 1] = fours >> np.uint64(32)
    halves -= np.float32(510.0)
    halves *= np.float32(1.0 / (4 * (256**2 - 1) / 12) ** 0.5)
    return halves.reshape(len(rows), -1)[:, :n_columns]
