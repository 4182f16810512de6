"""Magnitude pruning: what is cut is 0 to the end, and both accounts of it."""

import json

import pytest
import torch

from experiments.data import describe_dataset
from experiments.flops import flops_by_layer
from experiments.machine import Machine
from experiments.models import FAMILIES
from experiments.spec import TrialSpec
from experiments.techniques.magnitude_pruning import check, gradual_density, magnitude_pruning, trainings
from experiments.techniques.masks import prunable_weights
from experiments.training import count_steps
from experiments.trial import run_trial

TECHNIQUE = {"technique": "magnitude-pruning"}


def options(**changes):
    """A trial's technique with options."""
    return {**TECHNIQUE, "technique_options": changes}


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 2, "n_train": 200, "epochs": 4}
    return TrialSpec(**{**fields, "learning_rate": 0.01, **TECHNIQUE, **changes})


@pytest.mark.parametrize("pruning", ["gradual", "one-shot"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_weight_is_zero_to_the_end(family, pruning, bench):
    """Exactly as many weights are not 0 as the density says, and the network still learns its other ones."""
    workbench = bench(family, selection="last", **options(density=0.3, pruning=pruning))
    trained = magnitude_pruning(workbench)
    weights = prunable_weights(trained.model).values()

    assert trained.training.status == "finished"
    assert sum(int(torch.count_nonzero(weight)) for weight in weights) == round(
        0.3 * sum(weight.numel() for weight in weights)
    )
    assert torch.count_nonzero(trained.model.head.weight) > 0
    assert [phase.phase for phase in workbench.ledger.phases] == ["train", "prune-finetune"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_momentum_does_not_bring_a_cut_weight_back(optimizer, bench, monkeypatch):
    """At every pass of fine-tuning, each weight that was 0 at its begin is 0."""
    workbench = bench("mlp", optimizer=optimizer, epochs=6, **options(density=0.2, pruning="one-shot"))
    zeros, seen = {}, []
    train = type(workbench).train

    def watched(self, model, *, phase, after_step, **rest):
        if phase == "prune-finetune":
            zeros.update({name: weight == 0 for name, weight in prunable_weights(model).items()})

        def step_and_look(step, n_steps):
            after_step(step, n_steps)
            seen.extend(weight[zeros[name]].abs().max() for name, weight in prunable_weights(model).items() if zeros)

        return train(self, model, phase=phase, after_step=step_and_look, **rest)

    monkeypatch.setattr(type(workbench), "train", watched)
    magnitude_pruning(workbench)

    assert sum(int(mask.sum()) for mask in zeros.values()) > 0
    assert seen
    assert max(seen) == 0


@pytest.mark.parametrize(("progress", "expected"), [(0, 1), (0.25, 0.2 + 0.8 * 27 / 64), (0.5, 0.3), (1, 0.2)])
def test_the_gradual_way_is_that_of_the_paper(progress, expected):
    """Equation 1 with s_i = 0 and s_f = 0.8, worked out by hand."""
    assert gradual_density(progress, 0.2) == pytest.approx(expected)


def test_the_density_falls_between_begin_and_end(bench, monkeypatch):
    """It is 1 before, never rises, is the cubic's value half-way, and the final one from the end on."""
    workbench = bench("mlp", n_train=320, epochs=20, **options(density=0.2, begin=0.25, end=0.75, finetune_share=0.0))
    train, densities = type(workbench).train, []

    def watched(self, model, *, after_step, **rest):
        def step_and_look(step, n_steps):
            after_step(step, n_steps)
            weights = prunable_weights(model).values()
            kept = sum(int(torch.count_nonzero(weight)) for weight in weights)
            densities.append(kept / sum(weight.numel() for weight in weights))

        return train(self, model, after_step=step_and_look, **rest)

    monkeypatch.setattr(type(workbench), "train", watched)
    magnitude_pruning(workbench)

    assert len(densities) == 200
    assert densities[:50] == [1] * 50
    assert densities == sorted(densities, reverse=True)
    assert densities[99] == pytest.approx(0.3, abs=0.002)
    assert densities[149:] == [pytest.approx(0.2, abs=0.001)] * 51


def test_the_sparse_account_of_one_shot_by_hand():
    """Dense until the cut; then each product with a weight that is left. The dense account knows no zeros."""
    trial = spec(width=16, depth=1, n_train=192, **options(density=0.25, pruning="one-shot", finetune_share=0.5))
    row = run_trial(trial)["row"]
    steps = 12
    step, kept = 32 * 2 * (2 * 64 * 16 + 3 * 160), 32 * 2 * (2 * 64 * 16 / 4 + 3 * 160)

    assert row["train_flops_train"] == row["train_flops_prune-finetune"] == steps * step
    assert row["train_flops"] == 2 * steps * step
    assert row["sparse_train_flops"] == steps * (step + kept)
    assert row["inference_flops"] == 2 * (64 * 16 + 160)
    assert row["sparse_inference_flops"] == 2 * (64 * 16 / 4 + 160)
    assert row["model_bytes"] == 256 * 4 + 1024 / 8 + 4 * (160 + 10 + 3 * 16)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.1])
def test_phases_sum_to_both_totals(density):
    """The totals of the row are the sums of the ledger, which JSON holds; a sparse machine does less, if anything."""
    record = run_trial(spec(**options(density=density)), Machine())
    row = record["row"]

    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert row["train_flops"] == sum(phase["flops"] for phase in record["phases"])
    spent = [phase["flops"] if phase["sparse_flops"] is None else phase["sparse_flops"] for phase in record["phases"]]
    assert row["sparse_train_flops"] == sum(spent)
    assert (row["sparse_train_flops"] < row["train_flops"]) == (density < 1)
    assert [point["epoch"] for point in record["curve"]] == sorted(point["epoch"] for point in record["curve"])
    assert record["curve"][-1]["train_flops"] == row["train_flops"]


def test_no_more_is_spent_than_by_plain_training():
    """The epochs of both phases are the trial's, up to a step each."""
    baseline = run_trial(spec(technique="baseline"))["row"]["train_flops"]
    steps = count_steps(spec())

    assert run_trial(spec())["row"]["train_flops"] == pytest.approx(baseline, rel=1 / steps)
    assert sum(count_steps(part) for part in trainings(spec())) == pytest.approx(steps, abs=1)


def test_kept_weights_count_as_parameters():
    """With biases, norms and the head, which are all kept."""
    row = run_trial(spec(depth=1, epochs=10, **options(density=0.25)))["row"]

    assert row["n_params"] == 256 + 160 + 10 + 3 * 16


def test_the_same_trial_gives_the_same_network():
    """To the last bit, on a CPU."""
    first, second = (run_trial(spec(**options(density=0.1)))["row"] for _ in range(2))

    assert first["test_loss"] == second["test_loss"]


def test_the_best_pass_is_one_of_the_pruned_network():
    """Selection chooses among passes of fine-tuning, where the density is reached."""
    row = run_trial(spec(depth=1, epochs=10, selection="best", **options(density=0.25)))["row"]

    assert row["n_params"] == 256 + 160 + 10 + 3 * 16
    assert row["train_flops_validate"] == 6 * 250 * row["inference_flops"]


def test_a_training_that_diverges_or_runs_out_of_time_ends_the_trial():
    """With a reason, without an error, and without a second phase."""
    diverged = run_trial(spec(optimizer="sgd", learning_rate=1e20))["row"]
    stopped = run_trial(spec(epochs=2000), Machine(time_limit_seconds=0.5))["row"]

    assert (diverged["status"], stopped["status"]) == ("diverged", "stopped")
    for row in (diverged, stopped):
        assert row["reason"]
        assert "test_error" not in row
        assert "train_flops_prune-finetune" not in row


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (options(density=0), "has density = 0, but it is above 0"),
        (options(pruning="cubic"), "has pruning = 'cubic', but it is 'gradual' or 'one-shot'"),
        (options(begin=0.8, end=0.8), "begins at 0.8 and ends at 0.8; begin before end"),
        ({**options(finetune_share=0), "selection": "best"}, "take selection 'last' or a finetune_share above 0"),
        (options(sparsity=0.9), "has no option 'sparsity'"),
    ],
)
def test_what_makes_no_sense_is_refused_when_planning(fields, message):
    """With the value and what would do."""
    with pytest.raises(ValueError, match=message):
        check(spec(**fields), describe_dataset("digits"), Machine())


def test_a_family_of_one_s_own_is_pruned_too():
    """Any linear and convolutional layers are, by what they cost."""
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10))

    assert set(prunable_weights(model)) == {"0.weight"}
    assert flops_by_layer(model, (1, 8, 8))["0.weight"].inference == 2 * 36 * 9 * 4
