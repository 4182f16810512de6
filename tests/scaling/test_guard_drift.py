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


def test_two_machines_in_turn_are_two_nights():
    """Results that come back later, as those of another processor do, are not new ones."""
    found = measure_drift([1.0, 0.97] * 6)
    named = measure_drift([1.0, 0.97, 1.0, 0.96, 1.0, 0.95, 0.94], ["a", "b", "a", "c", "a", "d", "e"])

    assert (found.n_nights, found.n_recorded, found.verdict) == (2, 12, Verdict.REFUSED)
    assert (named.n_nights, named.n_recorded) == (5, 7)


def test_a_repetition_of_a_night_before_the_window_counts_once():
    """A month without a change is one point of the line, and not none."""
    gains = [1.0] * 40 + [0.99, 0.98, 0.97, 0.96]
    found = measure_drift(gains, [str(gain) for gain in gains])

    assert (found.n_nights, found.n_recorded) == (5, 30)
    assert found.change.value < 0.98


def test_one_name_for_each_night():
    """Or nobody knows which is which."""
    with pytest.raises(ValueError, match="there are 2 nights, but 1 names"):
        measure_drift([1.0, 0.9], ["a"])


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
