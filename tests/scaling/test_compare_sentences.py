"""How the numbers of a comparison are written."""

import math
from dataclasses import replace

import pytest

from scaling.compare import Bending, Estimate, Gain, Verdict
from scaling.compare.sentence import factor_text, gain_sentence


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1.3, 2.4, "1.8x [1.3, 2.4]"),
        (0.9, math.exp(16), "1.8x [0.9, ∞]"),
        (0.9, math.exp(15.995), "1.8x [0.9, ∞]"),
        (0.9, 1e6, "1.8x [0.9, 1e+06]"),
        (math.exp(-16), 2.4, "1.8x [0, 2.4]"),
    ],
)
def test_an_interval_is_open_where_no_larger_gain_was_looked_for(low, high, text):
    """A bound of the search is no bound of the gain, so it is not printed as one."""
    assert factor_text(Estimate(1.8, low, high)) == text


def bending(low, high, k=5.0):
    """A gain whose exponents differ by an interval; the baseline's alpha is 1/k."""
    gain = Estimate(1.8, 1.3, 2.4, at_cost=1e9)
    both = {"level": 0.95, "margin": 0.05, "bend_margin": 0.25, "verdict": Verdict.SHIFTS, "law": "power"}
    bend = Estimate((low + high) / 2, low, high)
    return Gain("pruning", "baseline", "train_flops", "test_error", gain=gain, bend=bend, exponents=(k, k), **both)


@pytest.mark.parametrize(
    ("low", "high", "expected", "words"),
    [
        (-0.03, 0.05, Bending.STRAIGHT, "does not bend it (0.01 [-0.03, 0.05], within ±0.05, 25% of the baseline's"),
        (-0.03, 0.06, Bending.CANNOT_TELL, "cannot be told (0.015 [-0.03, 0.06], and ±0.05 is 25% of the baseline's"),
        (0.01, 0.03, Bending.BENDS, "and it bends, error falls faster"),
        (-0.3, -0.01, Bending.BENDS, "and it bends, error falls more slowly"),
    ],
)
def test_no_bend_is_told_from_not_knowing(low, high, expected, words):
    """Only an interval within a quarter of the baseline's exponent, here 0.2, shows that a frontier does not bend."""
    found = bending(low, high)

    assert found.bending is expected
    assert words in gain_sentence(found)
    assert found.to_dict()["bend_status"] == expected.name.lower()


def test_where_there_are_no_exponents_nothing_is_said_of_a_bend():
    """A frontier that levels off has one exponent for both arms."""
    found = replace(bending(0.0, 0.0), bend=None, exponents=None, law="saturating")

    assert found.bending is Bending.NOT_KNOWN
    assert "whether it bends cannot be told from error that levels off" in gain_sentence(found)
