"""Distillation, transfer, meta-learning and data pruning alike: families, phases, sharing, endings, determinism."""

import dataclasses
import json
import shutil

import pytest

from experiments import workbench
from experiments.plan import plan_trials
from experiments.sweep import SweepSpec
from experiments.techniques import find_technique
from experiments.trial import run_trial

TECHNIQUES = ("distillation", "data-pruning", "transfer", "meta-learning")


def sweep_of(*trials):
    """A sweep of just these trials."""
    fields = ("width", "depth", "n_train", "seed", "epochs")
    points = [
        {**{name: getattr(trial, name) for name in fields}, "technique": [{trial.technique: trial.technique_options}]}
        for trial in trials
    ]
    first = trials[0]
    return SweepSpec.model_validate({"name": "x", "dataset": first.dataset, "family": first.family, "points": points})


def phase(record, name):
    """One phase of a record's ledger."""
    return next(one for one in record["phases"] if one["phase"] == name)


@pytest.mark.parametrize("family", ["mlp", "resnet", "convnext", "vit", "mixer"])
@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_family_is_trained_and_phases_sum_to_the_total(technique, family, brief_trial, shared_machine):
    """The record is plain data, its phases are those that the technique names, and nothing is missing."""
    record = run_trial(brief_trial(technique, family), shared_machine)

    assert record["status"] == "finished", record["reason"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    phases = {name: value for name, value in record["row"].items() if name.startswith("train_flops_")}
    assert set(phases) == {f"train_flops_{name}" for name in find_technique(technique).phases}
    assert all(value > 0 for value in phases.values())
    assert record["row"]["train_flops"] == pytest.approx(sum(phases.values()))


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_second_trial_is_charged_in_full_for_what_it_finds(technique, brief_trial, shared_machine):
    """What changes only the trial's own training leaves what came before, which is marked as spent elsewhere."""
    changes = {
        "distillation": {"options": {"temperature": 2.0}},
        "data-pruning": {"options": {"keep": 0.8}},
        "transfer": {"options": {"finetune_rate": 0.5}},
        "meta-learning": {"n_train": 96},
    }[technique]
    trials = [brief_trial(technique, seed=7), brief_trial(technique, seed=7, **changes)]
    first, again = (run_trial(trial, shared_machine) for trial in trials)
    planned = plan_trials(sweep_of(*trials), shared_machine)
    name = find_technique(technique).phases[0]

    assert [phase(one, name)["elsewhere"] for one in (first, again)] == [False, True]
    assert phase(first, name)["flops"] == phase(again, name)["flops"] > 0
    assert [one.spec.trial_id for one in planned] == [trial.trial_id for trial in trials]
    done_here = sum(one["flops"] for one in again["phases"] if not one["elsewhere"])
    assert [one.flops_here < one.flops for one in planned] == [False, True]
    assert planned[1].flops_here == pytest.approx(done_here, rel=0.2)


def test_the_plan_foresees_the_cost(brief_trial, shared_machine):
    """Earlier trainings included, to a fifth: the plan takes a look at an example for a third of learning from it."""
    for technique in TECHNIQUES:
        trial = brief_trial(technique, epochs=4)
        (planned,) = plan_trials(sweep_of(trial), shared_machine)

        spent = run_trial(planned.spec, shared_machine)["row"]["train_flops"]
        assert planned.flops == pytest.approx(spent, rel=0.2), technique


def test_another_version_of_the_program_prepares_anew(brief_trial, shared_machine, monkeypatch):
    """What was trained by other code is another training, and what it cost is no account of this one."""
    trial = brief_trial("distillation", seed=71)
    first = run_trial(trial, shared_machine)
    again = run_trial(trial, shared_machine)
    monkeypatch.setattr(workbench, "code_hash", lambda spec: f"another than that of {spec.trial_id}")
    later = run_trial(trial, shared_machine)

    assert [record["phases"][0]["elsewhere"] for record in (first, again, later)] == [False, True, False]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_another_seed_prepares_anew(technique, brief_trial, shared_machine):
    """What was drawn and learnt by one seed is not lent to another."""
    records = [run_trial(brief_trial(technique, seed=seed), shared_machine) for seed in (11, 12)]
    name = find_technique(technique).phases[0]

    assert [phase(one, name)["elsewhere"] for one in records] == [False, False]
    assert records[0]["row"]["test_loss"] != records[1]["row"]["test_loss"]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_time_limit_holds_over_all_phases_and_nothing_half_done_is_kept(technique, brief_trial, shared_machine):
    """A trial without time is stopped in its first phase and charged for it; the next one with time finishes."""
    trial, name = brief_trial(technique, seed=21), find_technique(technique).phases[0]
    hurried = run_trial(trial, dataclasses.replace(shared_machine, time_limit_seconds=1e-9))
    patient = run_trial(trial, shared_machine)

    assert hurried["status"] == "stopped", hurried["reason"]
    assert set(find_technique(technique).phases) & {one["phase"] for one in hurried["phases"]} == {name}
    assert 0 < hurried["row"][f"train_flops_{name}"] < patient["row"][f"train_flops_{name}"]
    assert "test_error" not in hurried["row"]
    assert patient["status"] == "finished", patient["reason"]
    assert phase(patient, name)["elsewhere"] is False


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_same_seed_gives_the_same_model_whoever_prepared(technique, brief_trial, shared_machine):
    """Made here, found in the cache, and made anew after the cache was emptied: equal to the last digit."""
    trial = brief_trial(technique, seed=31)
    losses = [run_trial(trial, shared_machine)["row"]["test_loss"] for _ in range(2)]
    for folder in shared_machine.cache_folder.glob("prepared-*"):
        shutil.rmtree(folder, ignore_errors=True) if folder.is_dir() else folder.unlink()
    losses.append(run_trial(trial, shared_machine)["row"]["test_loss"])

    assert len(set(losses)) == 1


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_an_earlier_training_that_diverges_ends_the_trial_and_says_where(technique, brief_trial, shared_machine):
    """The reason names the phase, the cost is kept, no error is recorded, and JSON holds the record."""
    rate = {"learning_rate": 1e30, "optimizer": "sgd", "weight_decay": 0.0, "epochs": 5}
    long = {"data-pruning": {"score_epochs": 5}, "transfer": {"pretrain_epochs": 5}}.get(technique, {})
    record = run_trial(brief_trial(technique, options=long, **rate), shared_machine)
    name = find_technique(technique).phases[0]

    assert record["status"] == "diverged", record["reason"]
    assert record["reason"].startswith(f"{name}: ")
    assert record["row"][f"train_flops_{name}"] > 0
    assert "test_error" not in record["row"]
    json.dumps(record, allow_nan=False)
