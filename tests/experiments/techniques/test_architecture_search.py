"""The search keeps to its limit, is charged whole, and gives the model that it found."""

import json

import pytest

from experiments.data import describe_dataset
from experiments.flops import count_family
from experiments.spec import TrialSpec
from experiments.techniques.architecture_search import check, find_candidates, trainings
from experiments.trial import run_trial
from experiments.workbench import Machine

IMAGES = {"height": 8, "image_width": 8, "channels": 1, "n_classes": 10}
INFO = describe_dataset("digits", data_folder=None)


def spec(**changes):
    """A trial of a second: four candidates among the perceptrons and the small convolutional networks."""
    fields = {"dataset": "digits", "family": "convnext", "width": 4, "depth": 1, "n_train": 100, "epochs": 4}
    options = {"candidates": 4, "families": "mlp, convnext", **changes.pop("options", {})}
    return TrialSpec(
        **{**fields, "technique": "architecture-search", "learning_rate": 0.01, "technique_options": options, **changes}
    )


def test_the_found_model_is_deployed_and_the_search_is_charged_to_each(tmp_path):
    """The row's size is that of the columns' model; a second trial pays for the search that it did not run."""
    machine = Machine(cache_folder=tmp_path)
    first, second = (run_trial(spec(), machine) for _ in range(2))
    row = first["row"]
    found = count_family(row["found_family"], width=row["found_width"], depth=row["found_depth"], **IMAGES)

    assert first["status"] == "finished", first["reason"]
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert (row["n_params"], row["inference_flops"]) == (found.n_params, found.inference_flops)
    assert row["train_flops"] == row["train_flops_search"] + row["train_flops_train"]
    assert row["train_flops_train"] == pytest.approx(round(4 * 100 / 32) * 32 * found.training_flops)
    assert second["phases"][0]["elsewhere"]
    assert second["row"]["train_flops_search"] == row["train_flops_search"]


def test_the_search_costs_its_rounds_and_its_looks(tmp_path):
    """By hand with two candidates: each half the epochs and one look at 250 validation images."""
    trial = spec(options={"candidates": 2})
    row = run_trial(trial, Machine(cache_folder=tmp_path))["row"]
    costs = [
        count_family(one.family, width=one.width, depth=one.depth, **IMAGES) for one in find_candidates(trial, INFO)
    ]

    steps = round(2 * 100 / 32)
    by_hand = sum(steps * 32 * cost.training_flops + 250 * cost.inference_flops for cost in costs)
    assert row["train_flops_search"] == pytest.approx(by_hand)
    assert [part.epochs for part in trainings(trial, describe_dataset("digits"))] == [2, 2, 4]


@pytest.mark.parametrize("limit", ["params", "flops"])
def test_every_candidate_keeps_the_limit(limit):
    """Of the trial's own model, or the one that was given; and uses half of it."""
    own = count_family("convnext", width=4, depth=1, **IMAGES)
    own = own.n_params if limit == "params" else own.inference_flops
    for most in (0, 3 * own):
        for one in find_candidates(spec(options={"limit": limit, "most": most}), INFO):
            cost = count_family(one.family, width=one.width, depth=one.depth, **IMAGES)
            assert (most or own) / 2 <= (cost.n_params if limit == "params" else cost.inference_flops) <= (most or own)


def test_a_limit_that_leaves_nothing_and_unknown_families_are_refused():
    """At plan time, with what would work."""
    with pytest.raises(ValueError, match=r"raise technique_options\.most"):
        check(spec(options={"most": 10}), INFO, Machine())
    with pytest.raises(ValueError, match="there is no 'perceptron'"):
        check(spec(options={"families": "perceptron"}), INFO, Machine())


def test_a_time_limit_during_the_search_stops_the_trial_and_leaves_no_result(tmp_path):
    """What was spent is kept under the search; the next trial searches anew."""
    record = run_trial(spec(epochs=4000), Machine(cache_folder=tmp_path, time_limit_seconds=1.0))

    assert record["status"] == "stopped"
    assert record["row"]["train_flops"] == record["row"]["train_flops_search"] > 0
    assert not list(tmp_path.rglob("prepared-*.npy"))
