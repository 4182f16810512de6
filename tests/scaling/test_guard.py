"""A night against its baseline: gains found, equality told from ignorance, and who fails a night."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.compare import Verdict
from scaling.guard import NightSetting, judge_night, pair_trials
from scaling.guard.night import classify
from scaling.guard.ratio import equivalent_gain, frontier_slopes, mean_gain

NO_METER = {"energy_joules": "no meter"}
ALPHA_LOSS, ALPHA_ERROR = 0.4, 0.3


def draw(seed=0, *, gain=1.0, flops=1.0, chaos=0.0, n_seeds=10, clock=1.0):
    """A night of four budgets: seeds differ by the same luck on every night, `chaos` is what this night adds.

    `gain` multiplies what a FLOP is worth, `flops` what a trial spends for the same result.
    """
    luck, own = np.random.default_rng(1), np.random.default_rng(seed)
    rows = []
    for number in range(n_seeds):
        for place, width in enumerate((4, 8, 16, 32)):
            spent = 1e8 * 8.0**place
            noise = math.exp(luck.normal(0, 0.1) + own.normal(0, chaos or 1e-300))
            rows.append({
                "dataset": "d", "family": "f", "technique": "baseline", "width": width, "depth": 1,
                "n_train": 100 * 2**place, "seed": number, "status": "finished", "n_test": 10**9,
                "train_flops": spent * flops, "inference_flops": 10.0 * width, "n_params": width,
                "test_loss": 2 * noise * (spent * gain / 1e8) ** -ALPHA_LOSS,
                "test_error": 0.3 * noise * (spent * gain / 1e8) ** -ALPHA_ERROR,
                "wall_seconds": clock * (1 + place), "inference_seconds": clock * 1e-4,
            })  # fmt: skip
    return pd.DataFrame(rows)


def judge(tonight, base=None, **setting):
    """The verdict over what `draw` makes."""
    pairs = pair_trials(draw() if base is None else base, tonight)
    return judge_night(pairs, NightSetting(**setting), not_known=NO_METER)


def test_the_same_night_twice_is_no_change_without_an_interval():
    """Differences are exactly 0: the gain is exactly 1, and nothing is divided by 0."""
    night = judge(draw())

    assert night.differing == ()
    assert night.regressions == ()
    for finding in night.findings:
        if finding.gain is not None:
            assert (finding.gain.low, finding.gain.value, finding.gain.high) == (1.0, 1.0, 1.0)
            assert finding.verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize("gain", [0.5, 0.85, 1.3])
@pytest.mark.parametrize(("error", "alpha"), [("test_loss", ALPHA_LOSS), ("test_error", ALPHA_ERROR)])
def test_a_power_law_gives_back_the_gain_it_was_drawn_with(gain, error, alpha):
    """The compute the baseline needs for tonight's error, solved on the law itself and not through the slopes."""
    base, tonight = draw(), draw(gain=gain)
    spent, reached = tonight["train_flops"].to_numpy(), tonight[error].to_numpy()
    needed = spent * (base[error].to_numpy() / reached) ** (1 / alpha)

    found = judge(tonight).finding("train_flops", error)

    # The fitted slope is that of noisy seeds, the true one is not.
    assert math.log(found.gain.value) == pytest.approx(math.log(float(np.median(needed / spent))), rel=0.05)


def test_flop_without_use_are_a_loss_exactly():
    """A fifth more for the same loss: the gain is 1/1.2 with no width, at equal error and for the same trial."""
    night = judge(draw(flops=1.2))

    for error in ("test_loss", "test_error", ""):
        gain = night.finding("train_flops", error).gain
        assert (gain.low, gain.value, gain.high) == pytest.approx((1 / 1.2,) * 3)
    assert any("dearer by +20.0%" in sentence for sentence in night.regressions)


def test_twice_the_flop_for_what_they_are_worth_fail_nothing():
    """More compute along the same frontier is no loss of efficiency."""
    tonight = draw(gain=2.0).assign(train_flops=lambda table: table["train_flops"] * 2)

    found = judge(tonight).finding("train_flops", "test_loss")

    assert found.gain.value == pytest.approx(1.0, abs=0.05)
    assert not found.is_regression


def test_equal_is_told_from_cannot_tell():
    """The same truth: little noise shows equality within 5%, much noise shows nothing."""
    quiet = judge(draw(3, chaos=0.002)).finding("train_flops", "test_loss")
    loud = judge(draw(3, chaos=0.2)).finding("train_flops", "test_loss")

    assert quiet.verdict is Verdict.EQUIVALENT
    assert loud.verdict is Verdict.CANNOT_TELL


def test_one_slow_night_of_the_clock_is_within_its_margin():
    """The machine's moods: 15% more seconds fail nothing, twice the seconds do, and no FLOP are blamed."""
    mood, slow = judge(draw(clock=1.15)), judge(draw(clock=2.0))

    assert mood.regressions == ()
    assert len(slow.regressions) == 2
    assert all("reference kernels" in sentence for sentence in slow.regressions)


def test_an_unsure_unit_of_time_makes_intervals_of_clocks_wider_and_no_others():
    """Twice the seconds are no loss where the unit is not sure; the mean stays, FLOP and losses are not touched."""
    pairs = pair_trials(draw(), draw(3, clock=2.0, chaos=0.01))
    sure, unsure = (judge_night(pairs, not_known=NO_METER, clock_error=error) for error in (0.0, 0.4))

    assert sure.finding("wall_seconds").verdict is Verdict.COSTS_MORE
    assert unsure.finding("wall_seconds").verdict is Verdict.CANNOT_TELL
    assert unsure.finding("wall_seconds").gain.value == sure.finding("wall_seconds").gain.value
    assert unsure.finding("train_flops", "test_loss") == sure.finding("train_flops", "test_loss")


def test_a_cost_that_cannot_be_compared_says_why():
    """No number, no verdict, the reason given."""
    finding = judge(draw()).finding("energy_joules")

    assert finding.verdict is Verdict.REFUSED
    assert "no meter" in finding.sentence
    assert not finding.is_regression


def test_a_trial_that_diverges_tonight_fails_the_night():
    """It is not left out of the comparison in silence."""
    tonight = draw()
    tonight.loc[tonight["seed"] == 3, "status"] = "diverged"

    night = judge(tonight)

    assert len(night.worse_endings) == 4
    assert "diverged tonight" in night.regressions[0]


def test_a_missing_trial_is_named():
    """A night cut short says which trials it lacks."""
    pairs = pair_trials(draw(), draw().iloc[:-2])

    assert len(pairs.missing) == 2
    assert all("seed=9" in words for words in pairs.missing)


def test_a_changed_learning_rate_still_pairs():
    """The settings that pair trials are the cells', not everything that changes a result."""
    pairs = pair_trials(draw().assign(learning_rate=0.01), draw().assign(learning_rate=0.005))

    assert len(pairs.table) == 40
    assert pairs.differing(["learning_rate"]) == ("learning_rate",)


def test_a_night_whose_trials_all_diverge_fails():
    """The worst of losses leaves nothing to compare, and is one."""
    night = judge(draw().assign(status="diverged"))

    assert len(night.regressions) == 40
    assert night.findings == ()


def test_two_seeds_are_refused():
    """An interval over two seeds would be as wide as the world."""
    with pytest.raises(ValueError, match="2 seeds are too few to tell a change from chance"):
        judge(draw(n_seeds=2), draw(n_seeds=2))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop(columns=["test_loss", "test_error"]),
        lambda table: table.drop(columns="train_flops"),
        lambda table: table.assign(test_loss=float("nan"), n_test=float("nan")),
    ],
)
def test_a_night_that_could_find_no_loss_is_no_pass(change):
    """Whatever is lacking, a gate that cannot close is not an open one."""
    for base, tonight in ((change(draw()), draw()), (draw(), change(draw()))):
        with pytest.raises(ValueError, match="nothing can be said of the training compute of 'baseline'"):
            judge(tonight, base)


def test_one_of_loss_and_error_is_enough():
    """A data set without a loss is judged by its error."""
    night = judge(draw(gain=0.5).drop(columns="test_loss"))

    assert night.finding("train_flops", "test_loss").verdict is Verdict.REFUSED
    assert night.finding("train_flops", "test_error").is_regression


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop(columns="seed"), "no column seed"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "two trials of"),
        (lambda table: table.assign(status="failed"), "no trial of the baseline finished"),
    ],
)
def test_what_cannot_be_paired_is_refused(change, said):
    """One sentence each."""
    with pytest.raises(ValueError, match=said):
        pair_trials(change(draw()), draw())


def test_a_frontier_that_does_not_fall_gives_no_exchange_rate():
    """Errors that are noise around a constant say nothing of compute."""
    noise = np.random.default_rng(1).normal(0, 0.1, (6, 3))
    log_cost = np.tile(np.log([1e8, 1e9, 1e10]), (6, 1))

    with pytest.raises(ValueError, match="surely fall"):
        frontier_slopes(log_cost, noise - noise.mean(axis=0) - [0, 1e-3, 2e-3])


def test_the_interval_of_a_mean_is_that_of_scipy():
    """Student's t of the textbook."""
    from scipy import stats

    values = np.array([0.1, -0.2, 0.05, 0.3, 0.0])
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))

    assert mean_gain(values).bounds(0.95) == pytest.approx(expected)


def test_the_spread_of_the_gain_is_that_of_many_nights():
    """Linearised against brute force: the deviation of the estimate over 4,000 draws of seeds."""
    generator = np.random.default_rng(5)
    estimates, errors = [], []
    for _ in range(4000):
        slopes = generator.normal(0.5, 0.05, 12)
        change = 0.1 + 0.4 * (slopes - 0.5) + generator.normal(0, 0.03, 12)
        found = equivalent_gain(change, slopes, generator.normal(0, 0.02, 12))
        estimates.append(found.value)
        errors.append(found.error)

    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.05)


def test_no_change_but_noise_fails_two_nights_in_a_hundred_at_most():
    """Over all findings that can fail by chance together: 60 nights and baselines, bound from the binomial at 99.9%.

    `benchmarks/nightly_power.py` counts thousands.
    """
    sides = [(draw(2 * number, chaos=0.03), draw(2 * number + 1, chaos=0.03)) for number in range(60)]
    failed = sum(bool(judge(tonight, base).regressions) for base, tonight in sides)

    assert failed <= 6


@given(st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0.001, 0.4))
def test_an_interval_has_one_verdict_and_its_mirror_the_opposite(middle, reach, margin):
    """Gains and losses are treated alike."""
    opposite = {Verdict.COSTS_MORE: Verdict.SHIFTS, Verdict.SHIFTS: Verdict.COSTS_MORE}
    found = classify(middle - reach, middle + reach, margin, sure_loss_counts=True)
    mirrored = classify(-middle - reach, -middle + reach, margin, sure_loss_counts=True)

    assert mirrored is opposite.get(found, found)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_the_unit_of_a_cost_does_not_matter(unit, seed):
    """FLOP or GFLOP, on both sides alike."""
    scaled = [draw(number).assign(train_flops=lambda table: table["train_flops"] * unit) for number in (0, seed)]

    found = judge(scaled[1], scaled[0]).finding("train_flops", "test_loss")

    assert found.gain.value == pytest.approx(judge(draw(seed)).finding("train_flops", "test_loss").gain.value)


@pytest.mark.parametrize("wrong", [{"false_alarms": 0.0}, {"margin": -0.1}, {"clock_margin": 0.0}])
def test_a_setting_out_of_range_is_refused(wrong):
    """The value and what is allowed."""
    with pytest.raises(ValueError, match="above 0"):
        NightSetting(**wrong)
