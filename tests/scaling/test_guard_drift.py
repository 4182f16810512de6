"""Drift over nights: a slow loss seen, noise and repetitions not taken for one."""

import numpy as np
import pytest
from scipy import stats

from scaling.compare import Verdict
from scaling.guard import measure_drift


def nights(per_night, noise, n, seed=0):
    """Gains of nights that lose so much each."""
    generator = np.random.default_rng(seed)
    return list(np.exp(per_night * np.arange(n) + generator.normal(0, noise, n)))


def test_a_loss_of_half_a_per_cent_a_night_is_seen_within_a_month():
    """No night loses enough to be seen by itself: the noise is four times the step."""
    found = measure_drift(nights(-0.005, 0.02, 30))

    assert found.verdict is Verdict.COSTS_MORE
    assert found.change.low < np.exp(-0.005 * 29) < found.change.high
    assert "slowly become dearer" in found.sentence


def test_the_line_is_that_of_scipy():
    """Slope and standard error by another library."""
    gains = nights(-0.01, 0.02, 12, seed=3)
    expected = stats.linregress(np.arange(12), np.log(gains))
    reach = stats.t.ppf(0.99, 10) * expected.stderr

    change = measure_drift(gains).change

    assert np.log([change.low, change.value, change.high]) == pytest.approx(
        11 * (expected.slope + reach * np.array([-1, 0, 1]))
    )


def test_noise_alone_is_called_a_loss_in_one_look_of_a_hundred():
    """2,000 months; bound from the binomial at 99.9%."""
    called = sum(measure_drift(nights(0, 0.02, 30, seed)).verdict is Verdict.COSTS_MORE for seed in range(2000))

    assert called <= 35


def test_a_repetition_is_no_evidence():
    """The same records ten times over are one night: too few for a line."""
    found = measure_drift([1.0] * 3 + [0.97] * 10)

    assert found.verdict is Verdict.REFUSED
    assert (found.n_nights, found.n_recorded) == (2, 13)


def test_nights_without_a_number_are_left_out():
    """An unknown night is not a gain of 1."""
    gains = nights(-0.01, 0.001, 10)
    with_holes = [gains[0], None, *gains[2:]]

    assert measure_drift(with_holes).n_nights == 9


@pytest.mark.parametrize("gains", [[0.0] * 6, [float("nan")] * 6, [-1.0] * 6])
def test_what_is_no_gain_is_refused(gains):
    """A gain is above 0."""
    with pytest.raises(ValueError, match="above 0"):
        measure_drift(gains)
