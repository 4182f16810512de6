"""What holds of every comparison: the order of rows, units and names change nothing; arms can be swapped."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.compare import Arms, Setting, draw_arms
from scaling.compare.gain import measure_gain

SMALL = {"widths": (8, 32, 128), "depths": (2,), "n_trains": (100, 1600, 6400, 25600)}
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRUTHS = st.builds(
    lambda gain, noise, bend: Arms(gain=gain, seed_noise=noise, bend=bend, **SMALL),
    st.floats(0.3, 4.0), st.floats(0.01, 0.08), st.sampled_from([0.0, 0.05]),
)  # fmt: skip
SEEDS = st.integers(0, 10_000)


def gain_of(runs, baseline="baseline", technique="technique", cost="train_flops"):
    """The gain under one law, so that rounding cannot change the choice."""
    return measure_gain(runs, baseline, technique, cost, Setting(n_resamples=60, law="power"))


def numbers(found):
    """Gain with bounds and bend with bounds, gains as logarithms."""
    shift = found.shift_fit
    interval = shift.log_gain_interval(shift.centre, 0.95)
    return [
        shift.log_gain(shift.centre),
        interval.low,
        interval.high,
        found.bend.value,
        found.bend.low,
        found.bend.high,
    ]


@FEW
@given(TRUTHS, SEEDS)
def test_the_order_of_the_rows_is_no_matter(arms, seed):
    """A shuffled table gives the same numbers, to the last bit."""
    runs = draw_arms(arms, seed=seed)
    shuffled = runs.sample(frac=1.0, random_state=seed % 1000)

    assert numbers(gain_of(runs)) == numbers(gain_of(shuffled))


@FEW
@given(TRUTHS, SEEDS, st.floats(1e-12, 1e12))
def test_the_unit_of_the_cost_is_no_matter(arms, seed, unit):
    """FLOP or petaFLOP: the same gain and bend."""
    runs = draw_arms(arms, seed=seed)
    other = runs.assign(train_flops=runs["train_flops"] * unit)

    assert numbers(gain_of(other)) == pytest.approx(numbers(gain_of(runs)), abs=2e-3)


@FEW
@given(TRUTHS, SEEDS)
def test_against_itself_the_gain_is_one(arms, seed):
    """Exactly, and so is its interval: the resamples are the same cells in both arms."""
    found = gain_of(draw_arms(arms, seed=seed), technique="baseline")

    assert found.gain.value == pytest.approx(1.0, abs=1e-9)
    assert found.gain.low == pytest.approx(1.0, abs=1e-4)
    assert found.gain.high == pytest.approx(1.0, abs=1e-4)
    assert found.bend.value == pytest.approx(0.0, abs=1e-9)


@FEW
@given(TRUTHS, SEEDS)
def test_swapping_the_arms_inverts_the_gain(arms, seed):
    """The baseline's gain over the technique is one over the technique's over the baseline, bounds as well."""
    runs = draw_arms(arms, seed=seed)
    there, back = numbers(gain_of(runs)), numbers(gain_of(runs, baseline="technique", technique="baseline"))

    assert back[0] == pytest.approx(-there[0], abs=1e-5)
    assert back[1:3] == pytest.approx([-there[2], -there[1]], abs=5e-3)
    assert back[3] == pytest.approx(-there[3], abs=1e-5)


@FEW
@given(TRUTHS, SEEDS, st.floats(1.5, 20.0))
def test_cheaper_by_a_factor_gains_that_factor(arms, seed, factor):
    """Dividing the technique's costs by a factor multiplies its gain, where nothing bends."""
    runs = draw_arms(arms, seed=seed)
    is_technique = runs["technique"] == "technique"
    cheaper = runs.assign(train_flops=runs["train_flops"] / np.where(is_technique, factor, 1.0))

    shift = [gain_of(table).shift_fit for table in (runs, cheaper)]
    gained = shift[1].log_gain(shift[1].centre) - shift[0].log_gain(shift[0].centre)
    # Huber's scale moves a little with the costs; the law is linear in them.
    assert gained == pytest.approx(math.log(factor), abs=0.05)
