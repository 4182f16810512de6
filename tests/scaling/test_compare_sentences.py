"""How the numbers of a comparison are written."""

import math

import pytest

from scaling.compare.gain import Estimate
from scaling.compare.sentence import factor_text


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
