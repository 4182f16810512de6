"""The power of a night and its false alarms, against closed forms, tables judged whole, and known counts."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scaling.guard import NightSetting, Share, failing_nights, judge_night, measure_seed_noise, pair_trials

ALPHA = 0.4
NO_CLOCKS = dict.fromkeys(("wall_seconds", "inference_seconds", "energy_joules"), "no clock")


def two_nights(noise, *, n_seeds=40, luck=0.1, rise=0.0):
    """Two nights of the same sweep, whose seeds' log losses differ by normal noise that all cells share."""
    generator = np.random.default_rng(2)
    sides = []
    own = generator.normal(0, luck, n_seeds)
    for side in range(2):
        change = generator.normal(0, noise / math.sqrt(2), n_seeds)
        rows = [
            {
                "dataset": "d", "family": "f", "technique": "baseline", "width": 4**place, "depth": 1,
                "n_train": 100, "seed": seed, "status": "finished", "n_test": 10**9, "train_flops": 1e8 * 8.0**place,
                "test_loss": math.exp(own[seed] + change[seed] + side * rise) * 8.0 ** (-ALPHA * place),
                "test_error": 0.3 * math.exp(own[seed] + change[seed] + side * rise) * 8.0 ** (-ALPHA * place),
            }
            for seed in range(n_seeds) for place in range(4)
        ]  # fmt: skip
        sides.append(pd.DataFrame(rows))
    return pair_trials(*sides)


def test_the_noise_is_what_it_was_drawn_with():
    """Spread of the log gain: that of the log loss over the exponent; between different seeds, their luck as well."""
    noise = measure_seed_noise(two_nights(0.03, n_seeds=2000))

    assert noise.slopes["test_loss"] == pytest.approx(ALPHA)
    assert noise.spread("test_loss") == pytest.approx(0.03 / ALPHA, rel=0.1)
    assert noise.seed_spread("test_loss") == pytest.approx(math.hypot(math.sqrt(2) * 0.1, 0.03) / ALPHA, rel=0.1)


def test_power_is_that_of_the_noncentral_t():
    """Both errors carry the same normal noise, so that a night is one Student test: its power has a closed form."""
    n_seeds, loss, false_alarms = 8, 0.10, 0.02
    noise = measure_seed_noise(two_nights(0.05, n_seeds=4000))
    found = failing_nights(noise, n_seeds=n_seeds, loss=loss, draws=1500, setting=NightSetting(false_alarms, 1e-9))

    critical = stats.t.isf(false_alarms / 2, n_seeds - 1)
    shift = -math.log1p(-loss) / (noise.spread("test_loss") / math.sqrt(n_seeds))
    expected = stats.nct.sf(critical, n_seeds - 1, shift)

    assert 0.2 < expected < 0.8
    assert found.value == pytest.approx(expected, abs=0.05)


def test_false_alarms_of_normal_noise_are_half_the_share_when_both_errors_agree():
    """Two findings share 2%, and are one here: 1% of nights, from Student's own level."""
    noise = measure_seed_noise(two_nights(0.3, n_seeds=4000))
    found = failing_nights(noise, n_seeds=12, draws=3000, setting=NightSetting(0.02, 1e-9))

    assert found.low < 0.01 < found.high


def test_a_simulated_night_is_judged_as_a_real_one():
    """The whole measured night, drawn without noise: it fails exactly where its table judged whole does."""
    for loss in (0.02, 0.06, 0.3):
        quiet = measure_seed_noise(two_nights(0.0, n_seeds=12, luck=0.0))
        shares = failing_nights(quiet, n_seeds=12, loss=loss, draws=5)
        night = judge_night(two_nights(0.0, n_seeds=12, luck=0.0, rise=-ALPHA * math.log1p(-loss)), not_known=NO_CLOCKS)

        assert shares.value == float(bool(night.regressions))


def test_seeds_that_are_not_shared_see_less():
    """The same loss against the luck of the seeds, which pairs take out."""
    noise = measure_seed_noise(two_nights(0.02))
    same, apart = (
        failing_nights(noise, n_seeds=8, loss=0.15, draws=300, same_seeds=same_seeds) for same_seeds in (True, False)
    )

    assert same.value > 0.95
    assert apart.value < 0.3


def test_clocks_that_share_the_false_alarms_cost_power():
    """The narrower share makes wider intervals."""
    noise = measure_seed_noise(two_nights(0.05))
    alone, with_clocks = (failing_nights(noise, n_seeds=6, loss=0.12, draws=800, n_clocks=n) for n in (0, 3))

    assert with_clocks.value < alone.value


@pytest.mark.parametrize("count", [0, 7, 200])
def test_the_interval_of_a_share_is_that_of_scipy(count):
    """The exact binomial interval of another implementation."""
    expected = stats.binomtest(count, 200).proportion_ci(0.95, method="exact")
    share = Share(count, 200)

    assert (share.low, share.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("loss", [-0.1, 1.0])
def test_a_loss_that_is_no_share_is_refused(loss):
    """The value and what is allowed."""
    with pytest.raises(ValueError, match=f"loss is {loss}"):
        failing_nights(measure_seed_noise(two_nights(0.02)), n_seeds=4, loss=loss)
