"""What a comparison says of runs whose gain is known, and what it refuses to say."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scaling import pareto_front
from scaling.compare import Arms, Charges, Payback, Setting, Verdict, compare, draw_arms
from scaling.compare.arms import read_pair
from scaling.compare.break_even import read_crossing
from scaling.compare.gain import measure_gain
from scaling.compare.joint import fit_pair

QUICK = Setting(n_resamples=200)
SMALL = {"widths": (8, 32, 128), "depths": (2,), "n_trains": (100, 1600, 6400, 25600)}


def gain_of(runs, cost="train_flops", **settings):
    """The gain of the technique."""
    setting = Setting(**{"n_resamples": 200, **settings})
    return compare(runs, costs=[cost], setting=setting, with_break_even=False).gain("technique", cost)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5, 4.0])
def test_a_known_gain_is_found(gain):
    """Without noise the gain is that of the truth, to what the coarseness of the grid leaves."""
    found = gain_of(draw_arms(Arms(gain=gain, seed_noise=1e-4)))

    assert found.gain.value == pytest.approx(gain, rel=0.03)
    assert found.bend.value == pytest.approx(0.0, abs=0.005)


def test_a_technique_that_is_cheaper_for_the_same_error_gains_exactly_that():
    """The same errors at a third of the cost: three, whatever the law, and nothing bends."""
    runs = draw_arms(Arms(gain=1.0), seed=3)
    mine = runs[runs["technique"] == "baseline"]
    cheaper = mine.assign(
        technique="technique", trial_id=mine["trial_id"] + "-t", train_flops=mine["train_flops"] / 3
    )  # fmt: skip
    found = gain_of(pd.concat([mine, cheaper]))

    assert found.gain.value == pytest.approx(3.0, rel=1e-6)
    assert (found.gain.low, found.gain.high) == (pytest.approx(3.0, rel=1e-3), pytest.approx(3.0, rel=1e-3))
    assert found.bend.value == pytest.approx(0.0, abs=1e-6)


def test_a_bend_is_found_and_the_frontiers_cross_where_they_should():
    """With a steeper exponent the gain grows with the budget, and is 1 where the truth says."""
    arms = Arms(gain=1.5, bend=0.05, seed_noise=0.02)
    found = gain_of(draw_arms(arms, seed=1), budgets=(1e7, 1e10))
    crossing = arms.reference * arms.gain ** (-arms.alpha / arms.bend)

    assert found.bends
    assert found.bend.value == pytest.approx(0.05, abs=0.01)
    for read, budget in zip(found.at_budgets, (1e7, 1e10), strict=True):
        assert read.value == pytest.approx(float(arms.true_gain(np.array(budget))), rel=0.15)
    assert found.crossing.value == pytest.approx(crossing, rel=0.5)
    assert found.exponents[0] == pytest.approx(5.0, rel=0.1)
    assert found.exponents[1] == pytest.approx(4.0, rel=0.1)


def test_error_that_levels_off_does_not_pass_for_a_bend():
    """A common irreducible error flattens the better arm first; the saturating law knows."""
    found = gain_of(draw_arms(Arms(gain=4.0, irreducible=0.03, seed_noise=0.01), seed=1))

    assert found.law == "saturating"
    assert found.gain.value == pytest.approx(4.0, rel=0.1)
    assert not found.bends


def test_luck_on_the_frontier_does_not_pass_for_a_gain():
    """A technique that is only noisier has luckier best cells; chosen by other seeds they hardly count."""
    ours, naive = [], []
    for seed in range(8):
        calm, noisy = draw_arms(Arms(seed_noise=0.02), seed=seed), draw_arms(Arms(seed_noise=0.2), seed=100 + seed)
        baseline = calm[calm["technique"] == "baseline"]
        technique = noisy[noisy["technique"] == "baseline"].assign(technique="technique")
        technique["trial_id"] += "-t"
        ours.append(math.log(gain_of(pd.concat([baseline, technique]), n_resamples=20).gain.value))
        lines = [np.polyfit(*np.log(pareto_front(arm)[["train_flops", "test_error"]].to_numpy().T), 1)
                 for arm in (baseline, technique)]  # fmt: skip
        naive.append((np.polyval(lines[1], 20.0) - np.polyval(lines[0], 20.0)) / lines[0][0])

    assert np.mean(naive) > 0.25
    assert abs(np.mean(ours)) < 0.4 * np.mean(naive)


def test_intervals_cover_and_no_gain_is_rarely_called_one():
    """Of a hundred sweeps without a gain a 95% interval misses more than 13 once in a thousand times."""
    held = called = 0
    for seed in range(100):
        pair = read_pair(
            draw_arms(Arms(gain=1.0), seed=1000 + seed), "baseline", "technique", cost="train_flops", error="test_error"
        )
        fit = fit_pair(
            pair.points, law="power", bends=False, cost="train_flops", error="test_error", n_resamples=150, seed=0
        )
        interval = fit.log_gain_interval(fit.centre, 0.95)
        held += 0.0 in interval
        called += interval.low > 0
    assert held >= 87
    assert called <= 9


@pytest.mark.parametrize(
    ("gain", "margin", "verdict"),
    [
        (4.0, 0.05, Verdict.SHIFTS),
        (0.3, 0.05, Verdict.COSTS_MORE),
        (1.0, 0.5, Verdict.EQUIVALENT),
        (1.0, 0.01, Verdict.CANNOT_TELL),
    ],
)
def test_a_verdict_tells_no_difference_from_not_knowing(gain, margin, verdict):
    """The same interval around 1 is an answer for a wide margin and none for a narrow one."""
    assert gain_of(draw_arms(Arms(gain=gain), seed=2), margin=margin).verdict is verdict


def test_uneven_noise_differs_between_cells_and_is_alike_in_both_arms():
    """The scatter of many seeds, cell by cell, recovers how unevenly noisy the cells were asked to be."""
    runs = draw_arms(Arms(uneven=0.7, seed_noise=0.05, n_seeds=200), seed=1)
    cells = ["technique", "width", "depth", "n_train"]
    noise = np.log(runs.assign(y=np.log(runs["test_error"])).groupby(cells)["y"].std()).unstack("technique")

    assert noise.corr().iloc[0, 1] > 0.98
    # Ninety cells: chance moves their standard deviation by 7% and their mean by 0.07.
    assert noise.std().to_numpy() == pytest.approx(0.7, rel=0.25)
    assert noise.mean().to_numpy() == pytest.approx(math.log(0.05), abs=0.2)


def test_the_seeds_asked_for_tell_as_often_as_promised():
    """Added to sweeps that cannot tell, under the estimate as truth, they tell in 80%: of 12, rarely fewer than 7."""
    told, setting = [], Setting(n_resamples=100)
    truth = Arms(gain=1.1, **SMALL)
    for seed in range(60):
        runs = draw_arms(truth, seed=seed)
        found = measure_gain(runs, "baseline", "technique", "train_flops", setting)
        if found.verdict is not Verdict.CANNOT_TELL or not 0 < (found.needed.n_seeds or 0) <= 100:
            continue
        held = replace(truth, gain=found.gain.value, n_seeds=found.needed.n_seeds)
        more = draw_arms(held, seed=1000 + seed)
        more = more.assign(trial_id="more-" + more["trial_id"], seed=more["seed"] + 3)
        on_frontiers = {name.rsplit("-s", 1)[0] for name in found.pair.points.trial_ids}
        more = more[more["cell"].isin(on_frontiers)]
        again = measure_gain(pd.concat([runs, more]), "baseline", "technique", "train_flops", setting)
        told.append(1.0 not in again.gain)
        assert len(more) == found.needed.n_trials
        assert found.needed.cost == pytest.approx(more["train_flops"].mean(), rel=0.25)
        if len(told) == 12:
            break

    assert len(told) == 12
    assert sum(told) >= 7


def test_no_number_of_seeds_is_promised_where_the_cells_themselves_scatter():
    """Seeds without noise in cells that scatter: more of them would change nothing, and none are asked for."""
    runs = draw_arms(Arms(gain=1.05, seed_noise=1e-4, cell_noise=0.1, **SMALL), seed=1)
    found = compare(runs, costs=["train_flops"], setting=QUICK, with_break_even=False)
    gain = found.gain("technique")

    assert gain.verdict is Verdict.CANNOT_TELL
    assert (gain.needed.n_trials, gain.needed.n_seeds) == (None, None)
    assert "300 more seeds of each cell on the frontiers would not tell either" in found.sentences[0]


def test_more_seeds_are_asked_for_the_nearer_the_gain_is_to_none():
    """The same runs with the technique made dearer, so that its gain falls towards 1."""
    asked = []
    runs = draw_arms(Arms(gain=1.0), seed=5)
    first = gain_of(runs)
    for gain in (1.08, 1.05):
        factor = np.where(runs["technique"] == "technique", first.gain.value / gain, 1.0)
        found = gain_of(runs.assign(train_flops=runs["train_flops"] * factor))
        assert found.gain.value == pytest.approx(gain, rel=1e-3)
        assert found.verdict is Verdict.CANNOT_TELL
        asked.append(found.needed.n_seeds)

    assert asked[1] > asked[0] > 0


def test_a_phase_that_is_left_out_is_not_charged():
    """With a teacher that costs as much as the training, leaving it out doubles the gain."""
    runs = draw_arms(Arms(gain=2.0), seed=4)
    is_taught = runs["technique"] == "technique"
    spent = runs["train_flops"]
    runs = runs.assign(
        train_flops_train=spent, train_flops_teacher=spent.where(is_taught), train_flops=spent * (1 + is_taught)
    )  # fmt: skip

    def gain(charges):
        found = compare(runs, costs=["train_flops"], charges=charges, setting=QUICK, with_break_even=False)
        return found.gain("technique").gain.value

    whole, left_out = gain(Charges()), gain(Charges(leave_out=("teacher",)))
    assert left_out == pytest.approx(2 * whole, rel=1e-3)
    assert gain(Charges(spread={"teacher": 4})) == pytest.approx(whole * 2 / 1.25, rel=1e-3)


def test_what_is_dearer_to_train_and_cheaper_to_use_pays_from_a_number_of_uses_on():
    """Same errors at 4 times the training and half the inference, on one number of examples: 3 T = U I / 2."""
    one_size = {"widths": (8, 16, 32, 64, 128), "depths": (1, 2, 4), "n_trains": (1600,)}
    runs = draw_arms(Arms(seed_noise=0.02, **one_size), seed=1)
    mine = runs[runs["technique"] == "baseline"]
    theirs = mine.assign(
        technique="technique", trial_id=mine["trial_id"] + "-t", train_flops=4 * mine["train_flops"],
        inference_flops=mine["inference_flops"] / 2,
    )  # fmt: skip
    found = compare(pd.concat([mine, theirs]), costs=["train_flops"], setting=QUICK).break_even("technique")

    assert found.payback is Payback.FROM
    assert found.uses == pytest.approx(6 * 3 * 1600, rel=0.05)
    assert found.low <= found.uses <= found.high
    assert found.curve["gain"].iloc[0] == pytest.approx(0.25, rel=0.05)
    assert found.curve["gain"].iloc[-1] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("gains", "payback", "uses"),
    [
        ([2, 2, 2], Payback.FROM_FIRST, None),
        ([0.5, 0.5, 0.5], Payback.NEVER, None),
        ([1, 1, 1], Payback.CANNOT_TELL, None),
        ([0.5, 1, 2], Payback.FROM, 10.0),
        ([2, 1, 0.5], Payback.UP_TO, 10.0),
        ([1.05, 2, 3], Payback.FROM, 0.0),
    ],
)
def test_a_curve_of_gains_is_read_as_a_person_would(gains, payback, uses):
    """Intervals of 20% around the gains; the crossing lies where the line between two points is 1."""
    gain = np.array(gains, dtype=float)
    curve = pd.DataFrame(
        {"uses": [1.0, 10.0, 100.0], "gain": gain * 1.0000001, "gain_low": gain / 1.2, "gain_high": gain * 1.2}
    )
    if payback is Payback.UP_TO:
        curve["gain"] = gain / 1.0000001
    found = read_crossing(curve)

    assert found[0] is payback
    assert found[1] == (None if uses is None else pytest.approx(uses, rel=1e-3))
    if uses:
        assert 1 < found[2] < uses < found[3] < 100


def test_an_unknown_energy_is_an_empty_cell_with_a_reason():
    """Never a zero, never a missing row."""
    runs = draw_arms(Arms(**SMALL)).assign(energy_joules=np.nan)
    found = compare(runs, costs=["train_flops", "energy_joules"], setting=QUICK, with_break_even=False)
    row = found.table.set_index("cost").loc["energy_joules"]

    assert row["status"] == "refused"
    assert math.isnan(row["gain"])
    assert "no trial has it" in row["reason"]
    assert "no number" in found.sentences[1]


def test_unfinished_trials_are_counted_and_stay_off_the_frontier():
    """Their errors do not enter, and the words say how many there were."""
    runs = draw_arms(Arms(gain=1.5, **SMALL), seed=1)
    where = runs.index[runs["technique"] == "technique"][:4]
    lost = runs.copy()
    lost.loc[where, ["status", "test_error"]] = ["diverged", np.nan]
    found = compare(lost, costs=["train_flops"], setting=QUICK, with_break_even=False)

    assert found.statuses["technique"] == {"diverged": 4, "finished": 32}
    assert found.table["n_unfinished"].iloc[0] == 4
    assert "4 diverged" in found.sentences[-1]


def test_a_shifted_test_set_of_its_own_size_counts_by_that_size():
    """An error of 0 on 100 shifted images is half an example of 100, however many there are in the test set."""
    runs = draw_arms(Arms(gain=2.0, **SMALL), seed=1).assign(n_test=10_000, n_shift_test=100)
    runs["shift_error"] = np.where(runs["width"] == 128, 0.0, runs["test_error"])
    points = read_pair(runs, "baseline", "technique", cost="train_flops", error="shift_error").points

    assert set(points.n_test) == {100.0}
    assert points.y.min() == pytest.approx(math.log(0.5 / 101))


def test_notes_of_trials_are_counted_and_the_most_frequent_is_said():
    """A technique whose networks lost a layer says so beside its gains; one without notes says nothing."""
    runs = draw_arms(Arms(gain=1.5, **SMALL), seed=1)
    where = runs.index[runs["technique"] == "technique"]
    runs.loc[where[:3], "note"] = "no weight is left in stem"
    runs.loc[where[3], "note"] = "no unit is left in hidden0"
    found = compare(runs, costs=["train_flops"], setting=QUICK, with_break_even=False)

    assert found.noted == {"technique": {"no unit is left in hidden0": 1, "no weight is left in stem": 3}}
    wanted = "Of 36 trials of technique, 4 carry a note, most often: no weight is left in stem."
    assert found.sentences[-1] == wanted
    assert found.to_dict()["noted"] == found.noted
    assert compare(runs.drop(columns="note"), costs=["train_flops"], setting=QUICK, with_break_even=False).noted == {}


def test_the_marks_of_the_overview_are_explained_beside_it():
    """In a terminal, a notebook, and what a comparison shows of itself."""
    found = compare(draw_arms(Arms(**SMALL), seed=1), costs=["train_flops"], setting=QUICK, with_break_even=False)

    assert "? these runs cannot tell; = no difference beyond 5%" in found.marks
    assert "0 or ∞ where no bound was found" in found.marks
    assert found.marks in repr(found)
    assert found.marks in found._repr_html_()


def test_errors_of_zero_of_unknown_size_are_counted_in_the_notes():
    """They are on no frontier, which makes their arm look worse."""
    runs = draw_arms(Arms(**SMALL), seed=1).drop(columns="n_test", errors="ignore")
    worst = runs[runs["technique"] == "technique"].nlargest(2, "test_error").index
    runs.loc[worst, "test_error"] = 0.0

    found = compare(runs, costs=["train_flops"], setting=QUICK, with_break_even=False)

    assert any("2 runs of 'technique' have test_error 0 and no known number" in note for note in found.notes)


def test_columns_that_name_a_trial_are_no_options():
    """Neither listed nor taken: every trial would be a technique."""
    runs = draw_arms(Arms(**SMALL), seed=1).assign(density=0.5, train_flops_teacher=0.0)
    for option in ("trial_id", "seed", "status"):
        with pytest.raises(ValueError, match=f"no option '{option}' to tell techniques apart by; they have density, "):
            compare(runs, by=[option])


def test_options_compete_or_stand_alone():
    """The frontier of a technique is the best over its densities, or each density has its own."""
    runs = draw_arms(Arms(gain=2.0), seed=1)
    worse = draw_arms(Arms(gain=0.25), seed=2)
    worse = worse[worse["technique"] == "technique"]
    both = pd.concat([
        runs.assign(density=np.where(runs["technique"] == "technique", 0.5, np.nan)),
        worse.assign(density=0.1, cell=worse["cell"] + "-sparse", trial_id=worse["trial_id"] + "-sparse"),
    ])  # fmt: skip
    best = gain_of(both)
    each = compare(both, costs=["train_flops"], by=["density"], setting=QUICK, with_break_even=False)

    assert best.gain.value == pytest.approx(2.0, rel=0.15)
    assert each.techniques == ("technique density=0.1", "technique density=0.5")
    assert each.gain("technique density=0.1").gain.value == pytest.approx(0.25, rel=0.15)


def test_one_seed_is_said():
    """With one seed a cell helps to choose itself, and a note says so."""
    runs = draw_arms(Arms(n_seeds=1, **SMALL))

    assert any("one seed" in note for note in compare(runs, costs=["train_flops"], setting=QUICK).notes)


def test_repeats_that_no_seed_tells_apart_are_said():
    """A table without seeds and cells: which runs repeat each other cannot be known, so each is a cell."""
    runs = draw_arms(Arms(gain=2.0, **SMALL), seed=1).drop(columns=["seed", "cell", "trial_id"])
    notes = compare(runs, costs=["train_flops"], setting=QUICK, with_break_even=False).notes

    for arm in ("baseline", "technique"):
        assert any(f"of '{arm}', 24 of 36 runs repeat the train_flops" in note and "`seed`" in note for note in notes)


@pytest.mark.parametrize(
    ("cost", "charges", "wanted"),
    [
        ("train_flops", Charges(), "give the table train_flops"),
        ("energy_joules", Charges(), "give the table energy_joules"),
        ("lifetime", Charges(uses=10), "give the table train_flops"),
        ("lifetime", Charges(), "the number of uses is not given; add it"),
        ("money", Charges(price_per_kwh=0.3), "give the table wall_seconds and energy_joules"),
    ],
)
def test_a_cost_that_is_not_there_names_what_would_give_it(cost, charges, wanted):
    """Column or option, in the sentence for that cost; the break-even asks for both FLOP."""
    runs = draw_arms(Arms(**SMALL)).drop(columns="train_flops")
    found = compare(runs, costs=[cost], charges=charges, setting=QUICK)

    assert wanted in found.sentences[0]
    assert "give the table train_flops and inference_flops" in found.sentences[1]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda runs: runs, {"baseline": "basline"}, "did you mean 'baseline'"),
        (lambda runs: runs, {"techniques": ["nothing"]}, "no technique 'nothing'"),
        (lambda runs: runs, {"costs": ["flops"]}, "no cost 'flops'"),
        (lambda runs: runs, {"by": ["density"]}, "no option 'density'"),
        (lambda runs: runs, {"charges": Charges(leave_out=("teacher",))}, "no trial has a phase 'teacher'"),
        (lambda runs: runs, {"setting": Setting(error="shift_error")}, "no column 'shift_error'"),
        (lambda runs: runs[runs["technique"] == "baseline"], {}, "'baseline' alone"),
        (lambda runs: runs.drop(columns="technique"), {}, "no column 'technique'.* add one"),
        (lambda runs: runs, {"setting": Setting(error="shift_error")}, "name one of test_error with --error"),
        (lambda runs: runs, {"setting": Setting(bend_margin=-1)}, "bend_margin is -1"),
        (
            lambda runs: runs.drop(columns=["train_flops", "inference_flops", "n_params"]),
            {},
            "no cost to compare on; give them a column such as train_flops",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(change, arguments, message):
    """In one sentence."""
    with pytest.raises(ValueError, match=message):
        compare(change(draw_arms(Arms(**SMALL))), **arguments)


def test_too_few_cells_in_common_are_refused_for_that_technique_alone():
    """A technique on another grid has no number, and the sentence says what would help."""
    runs = draw_arms(Arms(**SMALL))
    apart = runs.assign(width=np.where(runs["technique"] == "technique", runs["width"] + 1, runs["width"]))

    refused = gain_of(apart)
    assert refused.verdict is Verdict.REFUSED
    assert "0 cells in common" in refused.reason
    assert "unpaired" in refused.reason
    assert gain_of(apart, paired=False).gain is not None


def test_a_comparison_is_the_same_twice_and_json_can_hold_it():
    """Same runs, same bytes; tables and JSON agree."""
    runs = draw_arms(Arms(gain=2.0, **SMALL), seed=1)
    first, second = (compare(runs, charges=Charges(uses=1e5), setting=QUICK) for _ in range(2))
    text = json.dumps(first.to_dict(), allow_nan=False, sort_keys=True)

    assert text == json.dumps(second.to_dict(), allow_nan=False, sort_keys=True)
    table = first.table.set_index("cost")
    for one in json.loads(text)["gains"]:
        shown = table.loc[one["cost"]]
        assert shown["status"] == one["status"]
        if one["gain"] is None:
            assert math.isnan(shown["gain"])
            assert shown["reason"] == one["reason"] != ""
        else:
            assert shown["gain"] == one["gain"]["value"]
    assert "lifetime" in first.costs
    assert "energy_joules" not in first.costs
