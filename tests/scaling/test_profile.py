"""Profile likelihood: against the interval of least squares, and open where the data do not bound."""

import numpy as np
import pytest

from scaling import draw_runs, fit
from scaling.profile import profile_likelihood

COST = np.geomspace(1e9, 1e13, 40)


def sweep(law, truth, noise=0.03, seed=0):
    """A sweep of known truth, one run a cell."""
    return draw_runs(law, truth, {"cost": COST}, n_seeds=1, seed_noise=noise, seed=seed)


def test_profile_of_a_straight_line_is_the_classical_interval():
    """For a power law the rise is a parabola with the curvature of the loss: half the squared standard errors."""
    fitted = fit(sweep("power", {"A": 30.0, "alpha": 0.2}), "power")

    profile = profile_likelihood(fitted, "alpha")

    covariance = np.linalg.inv(fitted.optimum.information)
    centre = fitted.parameters["alpha"]
    half = (profile.interval.high - profile.interval.low) / 2
    assert profile.interval.low < centre < profile.interval.high
    # Student's quantile for 38 degrees is 2.02; Huber's loss is somewhat flatter than the parabola.
    assert half == pytest.approx(2.02 * np.sqrt(covariance[1, 1]), rel=0.2)
    assert profile.rise.min() == 0


@pytest.mark.parametrize("name", ["E", "A", "alpha"])
def test_profile_holds_the_truth_of_a_saturating_law(name):
    """In 20 sweeps the 95% interval misses the truth at most three times."""
    truth = {"E": 0.02, "A": 90.0, "alpha": 0.25}

    held = [
        truth[name] in profile_likelihood(fit(sweep("saturating", truth, seed=s), "saturating"), name).interval
        for s in range(20)
    ]

    assert sum(held) >= 17


def test_irreducible_error_of_a_power_law_is_open_below():
    """The data bound E from above only, and the profile says so."""
    fitted = fit(sweep("power", {"A": 30.0, "alpha": 0.2}), "saturating")

    profile = profile_likelihood(fitted, "E")

    assert profile.open_below
    assert not profile.open_above
    assert profile.interval.low == 0


def test_unknown_parameter_is_refused():
    """With the names there are."""
    with pytest.raises(ValueError, match="it has A, alpha"):
        profile_likelihood(fit(sweep("power", {"A": 30.0, "alpha": 0.2}), "power"), "beta")


def test_profile_of_nothing_is_refused_with_the_reason():
    """A fit without a curve has no profile."""
    fitted = fit(sweep("power", {"A": 30.0, "alpha": 0.2}).head(2), "power")

    with pytest.raises(ValueError, match="distinct budgets"):
        profile_likelihood(fitted, "alpha")
