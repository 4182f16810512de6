"""The joint laws: gradients, starts, units, and the gain they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.compare.laws import BEND, SHIFT

LAWS = [*SHIFT.values(), *BEND.values()]
PARAMETERS = {"E": 0.02, "A": 0.3, "alpha": 0.2, "log_gain": 0.7, "bend": 0.05}
X = np.array([np.tile(np.linspace(-4, 4, 7), 2), np.repeat([0.0, 1.0], 7)])


def coordinates(law):
    """The parameters that this law has."""
    return law.to_coordinates({name: PARAMETERS[name] for name in law.names})


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_gradient_agrees_with_differences(law):
    """Central differences in every coordinate."""
    theta = coordinates(law)
    jacobian = law.evaluate_with_jacobian(theta[None], X)[1][0]
    for index in range(law.n_parameters):
        step = np.zeros_like(theta)
        step[index] = 1e-6
        change = law.evaluate((theta + step)[None], X) - law.evaluate((theta - step)[None], X)
        assert jacobian[index] == pytest.approx(change[0] / 2e-6, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@settings(max_examples=20, deadline=None)
@given(by=st.floats(-20, 20))
def test_another_unit_is_the_same_curve(law, by):
    """Shifted coordinates give at x + by what they gave at x."""
    theta = coordinates(law)
    there = X + np.array([[by], [0.0]])

    moved = law.shift(theta, np.array([by, 0.0]))
    assert law.evaluate(moved[None], there) == pytest.approx(law.evaluate(theta[None], X), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_gain_is_what_the_baseline_would_have_to_spend(law):
    """At x + log gain the baseline's curve has the error of the technique's at x."""
    theta = coordinates(law)
    x = np.linspace(-4, 4, 7)
    gain = law.log_gain(theta[None], x)[0]
    technique = law.evaluate(theta[None], np.array([x, np.ones(7)]))[0]
    baseline = law.evaluate(theta[None], np.array([x + gain, np.zeros(7)]))[0]

    assert baseline == pytest.approx(technique, rel=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("arm", [0, 1])
def test_the_cost_of_an_error_is_where_the_curve_has_it(law, arm):
    """The inverse of each arm; infinite below what no cost removes."""
    theta = coordinates(law)
    x = np.array([[1.7], [float(arm)]])
    log_error = float(law.evaluate(theta[None], x)[0, 0])

    assert law.log_cost(theta[None], log_error, arm)[0] == pytest.approx(1.7, rel=1e-9)
    if law.irreducible:
        assert np.isinf(law.log_cost(theta[None], np.log(0.01), arm)[0])
