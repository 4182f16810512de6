"""The complexity penalty: zeros that the training brought about, cut away and charged."""

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from experiments.data import describe_dataset
from experiments.flops import count_family
from experiments.machine import Machine
from experiments.models import FAMILIES, build_model
from experiments.spec import TrialSpec
from experiments.techniques.complexity_penalty import (
    check,
    complexity_penalty,
    penalise_units,
    penalise_weights,
    trainings,
)
from experiments.techniques.masks import prunable_weights
from experiments.techniques.units import find_units
from experiments.trial import run_trial

SHAPE = {"height": 8, "image_width": 8, "channels": 1, "n_classes": 10}
TECHNIQUE = {"technique": "complexity-penalty"}


def options(**changes):
    """A trial's technique with options."""
    return {**TECHNIQUE, "technique_options": changes}


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 1, "n_train": 320, "epochs": 4}
    return TrialSpec(**{**fields, "learning_rate": 0.01, **TECHNIQUE, **changes})


@pytest.mark.parametrize("penalty", ["l1", "group-lasso"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_penalised_shrunk_and_measured(family, penalty):
    """A finished trial with fewer parameters than the family's own; l1 saves a sparse machine FLOP, group-lasso any."""
    width = {"vit": 16, "resnet": 4, "convnext": 4}.get(family, 16)
    changes = {"family": family, "width": width, "n_train": 100, "epochs": 2}
    record = run_trial(
        spec(**changes, learning_rate=0.02, **options(penalty=penalty, strength=15 if penalty == "l1" else 22))
    )
    row, dense = record["row"], count_family(family, width=width, depth=1, **SHAPE)

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert row["n_params"] < dense.n_params
    assert row["train_flops"] == row["train_flops_train"] + row["train_flops_shrink"]
    if penalty == "l1":
        assert 0 < row["found_density"] < 1
        assert row["sparse_inference_flops"] < row["inference_flops"] == dense.inference_flops
        assert row["sparse_train_flops"] < row["train_flops"]
    else:
        assert 0 < row["found_keep"] < 1
        assert row["inference_flops"] < dense.inference_flops
        assert "sparse_train_flops" not in row


@pytest.mark.parametrize("threshold", [0.0, 0.4, 2.0, 9.0])
def test_shrinking_units_solves_the_problem_that_it_is_the_step_of(threshold):
    """Least 0.5 |x - w|^2 + threshold |x| for each unit, by a general minimiser."""
    torch.manual_seed(0)
    model = build_model("mlp", width=3, depth=1, **SHAPE).double()
    nn.init.normal_(model.head.weight)
    (units,) = find_units(model)
    before = np.hstack([model.hidden0[0].weight.detach().numpy(), model.head.weight.detach().numpy().T])

    units.shrink(threshold)

    after = np.hstack([model.hidden0[0].weight.detach().numpy(), model.head.weight.detach().numpy().T])
    for old, new in zip(before, after, strict=True):

        def objective(x, old=old):
            return 0.5 * np.sum((x - old) ** 2) + threshold * np.sqrt(np.sum(x**2) + 1e-16)

        found = minimize(objective, 0.5 * old, method="BFGS", options={"gtol": 1e-6})
        assert new == pytest.approx(found.x, abs=1e-4)
    assert (np.count_nonzero(after) == 0) == (threshold == 9.0)


def flat(**changes):
    """A trial whose rate is 0.05 at every step."""
    return spec(learning_rate=0.05, schedule="constant", warmup_fraction=0, **changes)


def test_a_weight_that_nothing_holds_moves_by_the_strength():
    """Forty steps of 0.05 x 0.5 x 64 ** -0.5, which leave 3 - 1/8 of 3, and nothing of a tenth."""
    model = build_model("mlp", width=16, depth=1, **SHAPE)
    for start, end in ((3.0, 2.875), (-3.0, -2.875), (0.1, 0.0)):
        nn.init.constant_(model.hidden0[0].weight, start)
        step = penalise_weights(model, flat(), 0.5)
        for number in range(1, 41):
            step(number, 40)

        assert model.hidden0[0].weight.detach().numpy() == pytest.approx(end, rel=1e-5)


def test_the_penalty_goes_with_the_rate():
    """Half a cosine's mean is a half, so a weight moves half as far as at a flat rate."""
    model = build_model("mlp", width=16, depth=1, **SHAPE)
    nn.init.constant_(model.hidden0[0].weight, 3.0)
    step = penalise_weights(model, flat().model_copy(update={"schedule": "cosine"}), 0.5)
    for number in range(1, 401):
        step(number, 400)

    assert model.hidden0[0].weight.detach().numpy() == pytest.approx(3 - 400 * 0.05 * 0.5 / 8 / 2, rel=1e-3)


def test_a_unit_that_nothing_holds_loses_its_first_size():
    """After forty steps of 0.05 a tenth of it is left at a strength of 0.45, nothing at 0.55."""
    left = {}
    for strength in (0.45, 0.55):
        model = build_model("mixer", width=8, depth=1, **SHAPE)
        layers = find_units(model)
        for units in layers:
            for part in units.parts:
                if part.is_weight:
                    nn.init.constant_(part.tensor, 0.5)
        norms = [units.norms() for units in layers]
        step = penalise_units(model, flat(family="mixer"), strength)
        for number in range(1, 41):
            step(number, 40)
        left[strength] = [float((units.norms() / norm).max()) for units, norm in zip(layers, norms, strict=True)]

    assert left[0.55] == [0, 0]
    assert left[0.45] == pytest.approx([0.1, 0.1], rel=1e-3)


def test_a_stronger_penalty_leaves_less():
    """Of weights and of units; none leaves all."""
    for penalty, column in (("l1", "found_density"), ("group-lasso", "found_keep")):
        found = [run_trial(spec(**options(penalty=penalty, strength=s)))["row"][column] for s in (0, 8, 14)]
        assert found[0] == 1
        assert found[0] > found[1] > found[2]


def test_zeros_hold_while_the_rest_is_trained(bench):
    """Weights that are 0 when the shrinking begins are 0 at its end; the others have moved."""
    workbench = bench("mlp", n_train=320, epochs=4, **options(strength=4))
    seen, train = {}, type(workbench).train

    class Watched(type(workbench)):
        def train(self, model, *, phase, **rest):
            if phase == "shrink":
                seen.update({name: weight.detach().clone() for name, weight in prunable_weights(model).items()})
            return train(self, model, phase=phase, **rest)

    workbench.__class__ = Watched
    trained = complexity_penalty(workbench)
    weights = prunable_weights(trained.model)

    assert seen
    for name, before in seen.items():
        assert 0 < int((before == 0).sum()) < before.numel()
        assert torch.count_nonzero(weights[name][before == 0]) == 0
        assert not torch.equal(weights[name], before)


def test_where_all_units_vanish_one_stays():
    """A layer of nothing could not be built; the network then guesses, and the row says why."""
    row = run_trial(spec(**options(penalty="group-lasso", strength=1000)))["row"]

    assert row["n_params"] == (64 + 1 + 2) + (10 + 10)
    assert row["found_keep"] == 1 / 16
    assert row["test_error"] > 0.8
    assert row["note"].startswith("no unit is left in hidden0")


def test_a_layer_that_lost_all_its_weights_is_noted():
    """The row of a network that guesses for it says so; that of one that works says nothing."""
    dead, alive = (run_trial(spec(**options(strength=strength)))["row"] for strength in (1000, 1))

    assert dead["test_error"] > 0.8
    assert dead["note"].startswith("no weight is left in hidden0.0")
    assert "note" not in alive


@pytest.mark.parametrize("penalty", ["l1", "group-lasso"])
def test_the_default_leaves_a_network_that_works(penalty):
    """Under both penalties, with something cut away."""
    size = {"width": 32, "n_train": 1100, "epochs": 15}
    plain = run_trial(spec(**size, technique="baseline"))["row"]
    row = run_trial(spec(**size, **options(penalty=penalty)))["row"]

    assert row["n_params"] < plain["n_params"]
    assert row["test_error"] < plain["test_error"] + 0.02


def test_an_oversized_network_is_trained_and_charged():
    """Its training costs what the family does at that width; fine-tuning what is left."""
    row = run_trial(spec(epochs=10, **options(oversize=2, penalty="group-lasso", strength=0)))["row"]
    wide = count_family("mlp", width=32, depth=1, **SHAPE)

    assert row["train_flops_train"] == 80 * 32 * wide.training_flops
    assert row["train_flops_shrink"] == 20 * 32 * wide.training_flops
    assert row["n_params"] == wide.n_params
    assert row["width"] == 16
    assert [part.width for part in trainings(spec(**options(oversize=2)))] == [32, 32]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (options(strength=-1), "has strength = -1, but it is 0 or more"),
        ({**options(finetune_share=0), "selection": "best"}, "take selection 'last' or a finetune_share above 0"),
        ({**options(penalty="group-lasso"), "family": "mine:net"}, "does not know those of mine:net"),
        ({**options(oversize=1.5), "family": "vit"}, "has oversize 1.5, but vit cannot be built: width 24"),
    ],
)
def test_what_makes_no_sense_is_refused_when_planning(fields, message):
    """With the value and what would do."""
    with pytest.raises(ValueError, match=message):
        check(spec(**fields), describe_dataset("digits"), Machine())


def test_a_training_that_diverges_or_runs_out_of_time_ends_the_trial():
    """With a reason, and without a second phase."""
    diverged = run_trial(spec(optimizer="sgd", learning_rate=1e20))["row"]
    stopped = run_trial(spec(epochs=2000), Machine(time_limit_seconds=0.5))["row"]

    assert (diverged["status"], stopped["status"]) == ("diverged", "stopped")
    assert "train_flops_shrink" not in diverged | stopped
