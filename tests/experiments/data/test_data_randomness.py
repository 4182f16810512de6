"""Random numbers as functions of a key and a counter."""

import numpy as np
import pytest

from experiments.data.randomness import random_bits, random_normals, random_uniforms, stream_key


def test_bits_are_those_of_the_published_generator():
    """The first five outputs of SplitMix64 seeded with 1234567, as listed by Rosetta Code."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]

    assert random_bits(1234567, np.arange(5)).tolist() == expected


def test_bits_agree_with_whole_number_arithmetic():
    """Python's unbounded integers, reduced by hand, give the same as numpy's wrapping ones."""
    key, counters, mask = 2**64 - 5, [0, 7, 2**40], 2**64 - 1
    expected = []
    for counter in counters:
        state = (key + (counter + 1) * 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        expected.append(state ^ (state >> 31))

    assert random_bits(key, np.array(counters)).tolist() == expected


def test_uniforms_fill_the_unit_interval_evenly():
    """A chi-square test over 100 bins, at a level passed by 999 of 1,000 good generators."""
    draws = random_uniforms(stream_key("test"), np.arange(100_000))
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]

    assert draws.min() >= 0
    assert draws.max() < 1
    assert ((counts - 1000) ** 2 / 1000).sum() < 148.2


def test_normals_have_the_moments_of_a_sum_of_four_bytes():
    """Mean 0, variance 1 and kurtosis 3 - 1.2 / 4 (Irwin and Hall), to four standard errors."""
    draws = random_normals(stream_key("test"), np.arange(1000), 785)

    assert draws.shape == (1000, 785)
    assert draws.mean() == pytest.approx(0, abs=4 / draws.size**0.5)
    assert draws.var() == pytest.approx(1, abs=0.01)
    assert (draws.astype(float) ** 4).mean() == pytest.approx(2.7, abs=0.02)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.13


def test_a_row_of_normals_does_not_depend_on_its_neighbours():
    """Row 17 is the same alone and among others."""
    key = stream_key("test")

    among_others = random_normals(key, np.arange(30), 9)[17]
    alone = random_normals(key, np.array([17]), 9)[0]

    np.testing.assert_array_equal(alone, among_others)


def test_streams_are_told_apart_by_the_type_of_their_parts_too():
    """The text "1" and the number 1 name different streams, as do joined and separate texts."""
    assert len({stream_key("1"), stream_key(1), stream_key("a", "b"), stream_key("ab")}) == 4
