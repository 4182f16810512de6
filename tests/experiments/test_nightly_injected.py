"""Real regressions, put into the training code and caught by name; a change that changes nothing passes.

Trials run in this process, without Ray: one arm is some seconds.
"""

import datetime as dt
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import experiments.images
import experiments.training
import experiments.workbench
from cluster.records import read_records, write_record
from experiments.baseline import make_baseline
from experiments.conditions import make_conditions, read_conditions, save_conditions
from experiments.machine import Machine
from experiments.nightly import judge
from experiments.nightly_command import SHIPPED_SWEEP
from experiments.reference_kernel import KernelSample, KernelTiming
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.sweep import parse_sweep
from experiments.training_audit import audit_trials
from experiments.trial import run_trial

pytestmark = pytest.mark.slow
MACHINE = Machine(device="cpu", threads=1)
KERNEL = KernelTiming(0.2, 1.1, None, "unknown")
N_SEEDS = 12


def shipped_with_fewer_seeds():
    """The sweep that ships, with a quarter of its seeds."""
    content = yaml.safe_load(SHIPPED_SWEEP.read_text(encoding="utf-8"))
    points = [{**point, "seed": point["seed"][:N_SEEDS]} for point in content["points"]]
    return {**content, "name": "guarded", "points": points}


SWEEP = shipped_with_fewer_seeds()


def tiny_sweep(n_seeds):
    """Two budgets of some steps."""
    seeds = list(range(n_seeds))
    return {
        **SWEEP,
        "points": [{"width": width, "depth": 1, "n_train": 60 * width, "seed": seeds} for width in (2, 8)],
        "training": {**SWEEP["training"], "epochs": 2, "base_width": 4},
    }


TINY = tiny_sweep(3)


def run_arm(folder, sweep):
    """A night's results folder, made without Ray."""
    asked = parse_sweep(sweep)
    results = folder / asked.name
    save_sweep(asked, results)
    for spec in asked.trials():
        write_record(results / TRIALS_FOLDER, run_trial(spec, MACHINE, sweep=asked.name))
    (results / "fits.json").write_text(json.dumps({"fits": []}))
    save_conditions(arm_conditions(asked, results), results)
    return results


def arm_conditions(asked, results):
    """What a night ran on, with a kernel that says the machine was as fast throughout."""
    stamps = [
        dt.datetime.fromisoformat(record[name]).timestamp()
        for record in read_records(results / TRIALS_FOLDER) for name in ("started_at", "ended_at")
    ]  # fmt: skip
    beside = [KernelSample(at, 0.05, 0.002) for at in np.arange(min(stamps) - 2, max(stamps) + 2, 0.5)]
    audit = audit_trials(asked.trials(), MACHINE)
    return make_conditions(MACHINE, workers=1, timings=(KERNEL, KERNEL), audit=audit, beside=beside)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The night that is kept, and its baseline."""
    folder = tmp_path_factory.mktemp("kept")
    results = run_arm(folder, SWEEP)
    path = folder / "baseline.json"
    make_baseline(results, path)
    return SimpleNamespace(results=results, baseline=path)


@pytest.fixture
def tonight(tmp_path, kept):
    """Run a night with whatever was broken, and judge it."""
    return lambda: judge(run_arm(tmp_path, SWEEP), kept.baseline)


def loss_finding(judged):
    """Training compute at equal test loss."""
    return judged.night.finding("train_flops", "test_loss")


def groups_with(monkeypatch, **changed):
    """Let the optimiser be given other settings than the trial asks for."""
    honest = experiments.workbench.parameter_groups

    def broken(*arguments, **settings):
        return honest(*arguments, **{name: changed.get(name, same)(same) if name in changed else same
                                     for name, same in settings.items()})  # fmt: skip

    monkeypatch.setattr(experiments.workbench, "parameter_groups", broken)


def test_a_learning_rate_halved_in_the_code_is_caught(monkeypatch, tonight):
    """The settings say what they said; the loss does not."""
    groups_with(monkeypatch, learning_rate=lambda rate: rate / 2)

    judged = tonight()

    assert judged.exit_code == 1
    assert loss_finding(judged).is_regression
    assert loss_finding(judged).gain.high < 0.95


def test_weight_decay_dropped_in_the_code_is_caught(monkeypatch, tonight):
    """The optimiser is given none."""
    groups_with(monkeypatch, weight_decay=lambda _: 0.0)

    judged = tonight()

    assert judged.exit_code == 1
    assert loss_finding(judged).is_regression


def test_labels_shifted_for_two_examples_in_a_hundred_are_caught_and_named(monkeypatch, tonight):
    """The loss fails the night, and the audit says that it is the labels."""
    honest = experiments.images.Images.stream

    def broken(self, *arguments, **settings):
        if not getattr(self, "shifted", False):
            chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(1))[: round(0.02 * len(self))]
            self._labels = self._labels.clone()
            self._labels[chosen] = (self._labels[chosen] + 1) % self.n_classes
            self.shifted = True
        return honest(self, *arguments, **settings)

    monkeypatch.setattr(experiments.images.Images, "stream", broken)

    judged = tonight()

    assert loss_finding(judged).is_regression
    assert any("labels that training sees" in sentence for sentence in judged.changes)


def test_a_second_forward_pass_is_caught_though_the_ledger_does_not_see_it(monkeypatch, kept, tmp_path):
    """A fifth more FLOP per step (a forward pass over half the batch) for the very same losses: counted as they run."""
    honest = experiments.training.cross_entropy

    def broken(label_smoothing=0.0):
        loss = honest(label_smoothing)

        def twice(model, images, labels):
            with torch.no_grad():
                model(images[: round(0.48 * len(images))])
            return loss(model, images, labels)

        return twice

    monkeypatch.setattr(experiments.training, "cross_entropy", broken)
    # No weight depends on it: the records of the kept night stand, and the audit alone is made again.
    results = copied(kept.results, tmp_path)
    save_conditions(arm_conditions(parse_sweep(SWEEP), results), results)

    judged = judge(results, kept.baseline)

    finding = judged.night.finding("train_flops_counted")
    assert finding.is_regression
    assert 1 / finding.gain.value == pytest.approx(1.2, abs=0.04)
    assert all("FLOP per training step" in sentence for sentence in judged.regressions)
    assert loss_finding(judged).gain.value == 1.0


def test_a_data_path_that_waits_is_caught_as_time_and_not_as_flop(monkeypatch, tmp_path):
    """A pass over the examples that hangs for four times as long as a whole trial took, on whatever machine."""
    run_arm(tmp_path / "warm", TINY)
    first = run_arm(tmp_path / "first", tiny_sweep(6))
    kept = make_baseline(first, tmp_path / "baseline.json")
    pause = 4 * float(kept.runs()["wall_seconds"].median())
    honest = experiments.images.Images.stream

    def slow(self, *arguments, **settings):
        time.sleep(pause)
        yield from honest(self, *arguments, **settings)

    monkeypatch.setattr(experiments.images.Images, "stream", slow)

    judged = judge(run_arm(tmp_path / "slow", tiny_sweep(6)), tmp_path / "baseline.json")

    assert judged.exit_code == 1
    assert judged.night.finding("wall_seconds").is_regression
    assert judged.night.differing == ()
    assert {one.cost for one in judged.night.findings if one.is_regression} <= {"wall_seconds", "inference_seconds"}


def test_a_slower_data_path_is_caught_as_time_and_not_as_flop(kept, tmp_path):
    """The kept records, each 60% slower: what a busy machine does to seconds in a test would hide that."""
    results = copied(kept.results, tmp_path)
    for record in read_records(kept.results / TRIALS_FOLDER):
        record["row"]["wall_seconds"] *= 1.6
        write_record(results / TRIALS_FOLDER, record)

    judged = judge(results, kept.baseline)

    assert judged.exit_code == 1
    assert [one.cost for one in judged.night.findings if one.is_regression] == ["wall_seconds"]
    assert not judged.night.differing


def test_a_change_that_changes_nothing_passes_twenty_times_of_twenty(monkeypatch, tmp_path):
    """Every record anew, under a loss that was written anew: the same to the last bit, no finding, exit code 0.

    Without a kernel, as a busy machine's seconds are not the code's.
    """
    first = run_arm(tmp_path / "first", TINY)
    make_baseline(first, tmp_path / "baseline.json")

    def rewritten(label_smoothing=0.0):
        assert label_smoothing == 0.0

        def loss(model, images, labels):
            return torch.nn.functional.nll_loss(torch.log_softmax(model(images), dim=1), labels)

        return loss

    monkeypatch.setattr(experiments.training, "cross_entropy", rewritten)
    for number in range(20):
        results = run_arm(tmp_path / str(number), TINY)
        conditions = read_conditions(results)
        save_conditions(conditions.model_copy(update={"kernel_beside": ()}), results)

        judged = judge(results, tmp_path / "baseline.json")

        assert judged.exit_code == 0, judged.regressions
        assert judged.headline.startswith("Nothing has changed: all 6 trials")


def copied(results, folder):
    """The same night in another folder."""
    import shutil

    return shutil.copytree(results, folder / "copied" / results.name)
