"""Long trials that are ended on their way and go on: the record is that of a trial that was never ended."""

import io
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.checkpoints import CheckpointFolder, OwnCheckpoints, Spent
from experiments import continuing
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_trial

ROOT = Path(__file__).parents[2]
# What a trial found and what it took in FLOP; the rest of its row are times, joules, and what follows from them.
FOUND = (
    "test_error", "test_loss", "validation_error", "validation_loss", "shift_error", "n_params", "model_bytes",
    "train_flops", "sparse_train_flops", "inference_flops", "sparse_inference_flops",
)  # fmt: skip
# Every technique that ships, with what makes its state rich.
TRIALS = {
    "baseline": {"selection": "best", "augmentation": "shift-flip", "schedule": "wsd"},
    "sgd": {"technique": "baseline", "optimizer": "sgd", "family": "resnet", "width": 4},
    "magnitude-pruning": {"validation_passes": 2},
    "one-shot": {"technique": "magnitude-pruning", "technique_options": {"pruning": "one-shot"}},
    "structured-pruning": {"technique_options": {"importance": "taylor"}},
    "complexity-penalty": {"technique_options": {"strength": 8.0}},
    "distillation": {"technique_options": {"feature_weight": 1.0, "teacher_scale": 2.0}},
    "data-pruning": {"technique_options": {"score_epochs": 1.0, "score_seeds": 2}},
    "quantization": {"technique_options": {"mode": "aware"}},
    "low-precision": {},
    "transfer": {"technique_options": {"source_train": 100, "pretrain_epochs": 1}},
    "meta-learning": {"technique_options": {"source_train": 100, "shots": 4, "meta_steps": 3}},
    "architecture-search": {"technique_options": {"candidates": 3, "families": "mlp"}},
    "expert-features": {"technique_options": {"features": "oriented-gradients"}},
}
# Those of which a part is made once per node.
WITH_PREPARATIONS = ("distillation", "data-pruning", "transfer", "meta-learning", "architecture-search")


class Killed(BaseException):
    """The end of a process in the middle of a trial, which nothing in the trial can catch."""


class Kept:
    """Checkpoints in memory; the process ends after so many of them."""

    every_seconds, report_seconds = 0.0, 1000.0

    def __init__(self, content=None, *, killed_after=math.inf):
        self.content, self.killed_after = content, killed_after
        self.n_saved, self.spent, self.discarded = 0, [], []

    def load(self):
        return self.content

    def save(self, content, spent):
        self.content = content
        self.n_saved += 1
        self.spent.append(spent)
        if self.n_saved == self.killed_after:
            raise Killed

    def report(self, spent):
        self.spent.append(spent)

    def discard(self, spent):
        self.discarded.append(spent)


@pytest.fixture(autouse=True)
def at_every_step(monkeypatch):
    """Take no heed of what checkpoints cost, so that one follows every step."""
    monkeypatch.setattr(continuing, "LARGEST_SHARE", math.inf)


@pytest.fixture(autouse=True)
def program_as_it_is(monkeypatch):
    """Let nobody who edits the program while the tests run make their checkpoints another version's."""
    digests = {}
    hashed = continuing.content_hash
    monkeypatch.setattr(continuing, "content_hash", lambda files: digests.setdefault(len(files), hashed(files)))


def spec(name="baseline", **changes):
    """A trial of few steps."""
    fields = {
        "dataset": "digits",
        "family": "mlp",
        "width": 8,
        "depth": 1,
        "n_train": 64,
        "epochs": 4,
        "batch_size": 16,
    }
    return TrialSpec(**{**fields, "technique": name, **changes})


def found(record):
    """What must not depend on how often a trial was ended."""
    assert record["status"] == "finished", record["reason"]
    row = {name: record["row"].get(name) for name in FOUND}
    phases = [(phase["phase"], phase["flops"], phase["sparse_flops"]) for phase in record["phases"]]
    return row, record["curve"], phases


@pytest.mark.parametrize(
    ("name", "node"),
    [(name, "same node") for name in TRIALS] + [(name, "other node") for name in WITH_PREPARATIONS],
)
def test_a_trial_ended_twice_leaves_the_record_of_one_never_ended(name, node, tmp_path):
    """To the last bit, in whichever of its trainings it was ended, and wherever the next attempt runs."""
    trial = make(name)
    whole = Kept()
    expected = run_trial(trial, Machine(device="cpu", cache_folder=tmp_path / "whole"), checkpoints=whole)
    content = None
    for number, share in enumerate((0.35, 0.5)):
        folder = tmp_path / (f"node-{number}" if node == "other node" else "node")
        ended = Kept(content, killed_after=max(1, round(share * whole.n_saved)))
        with pytest.raises(Killed):
            run_trial(trial, Machine(device="cpu", cache_folder=folder), checkpoints=ended)
        content = ended.content
    last = Kept(content)
    folder = tmp_path / ("node-last" if node == "other node" else "node")

    record = run_trial(trial, Machine(device="cpu", cache_folder=folder), checkpoints=last)

    assert found(record) == found(expected)
    assert record["continued"]
    # It did what was left to do: each step is followed by a checkpoint.
    assert last.n_saved < 0.3 * whole.n_saved
    assert last.discarded == []


def make(name):
    """One of the trials above."""
    changes = {"technique": name, **TRIALS[name]}
    return spec(changes.pop("technique"), **changes)


def test_a_trial_without_checkpoints_is_the_same_trial():
    """Leaving checkpoints changes nothing of what a trial finds."""
    assert found(run_trial(make("baseline"), checkpoints=Kept())) == found(run_trial(make("baseline")))


def test_a_short_trial_leaves_nothing():
    """Before the time is reached nothing is written."""
    kept = Kept()
    kept.every_seconds = 300.0

    run_trial(spec(), checkpoints=kept)

    assert (kept.n_saved, kept.content) == (0, None)


def test_what_earlier_attempts_took_is_part_of_the_trial():
    """Seconds and joules up to the checkpoint are in the ledger, under their phases and in the sums."""
    ended = Kept(killed_after=6)
    with pytest.raises(Killed):
        run_trial(spec(), checkpoints=ended)
    kept = torch.load(io.BytesIO(ended.content), weights_only=True)
    kept["seconds"] += 1000.0
    kept["energy"]["joules"]["cpu"] = kept["energy"]["joules"].get("cpu", 0.0) + 5000.0
    (entry,) = kept["trainings"].values()
    entry["ledgers"][0][0]["wall_seconds"] += 900.0
    buffer = io.BytesIO()
    torch.save(kept, buffer)

    record = run_trial(spec(), checkpoints=Kept(buffer.getvalue()))

    phases = {phase["phase"]: phase for phase in record["phases"]}
    assert 900 < phases["train"]["wall_seconds"] < 910
    assert 100 < phases["overhead"]["wall_seconds"] < 110
    assert sum(phase["wall_seconds"] for phase in phases.values()) == pytest.approx(record["row"]["wall_seconds"])
    if record["row"]["energy_source"] != "unknown":
        assert record["row"]["energy_joules"] > 5000
        assert sum(record["energy"]["joules"].values()) == pytest.approx(record["row"]["energy_joules"])


def test_flop_are_said_as_they_are_spent():
    """After so many steps an attempt has spent their FLOP, be it the first or one that goes on."""
    trial = spec()
    whole = run_trial(trial)
    per_step = whole["row"]["train_flops"] / 16
    ended, last = Kept(killed_after=5), Kept()
    with pytest.raises(Killed):
        run_trial(trial, checkpoints=ended)
    last.content = ended.content
    run_trial(trial, checkpoints=last)

    assert [spent.flops for spent in ended.spent] == pytest.approx([n * per_step for n in range(1, 6)])
    assert [spent.flops for spent in last.spent] == pytest.approx([n * per_step for n in range(1, 12)])
    seconds = [spent.seconds for spent in ended.spent]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.parametrize(
    ("key", "words"),
    [("code", "another version of the program"), ("spec", "another trial"), ("threads", "number of threads")],
)
def test_a_checkpoint_of_something_else_is_refused_and_the_trial_begins_again(key, words, caplog):
    """The log says why, the record is that of a whole trial, and what went into the checkpoint is told as lost."""
    ended = Kept(killed_after=5)
    with pytest.raises(Killed):
        run_trial(spec(), checkpoints=ended)
    kept = torch.load(io.BytesIO(ended.content), weights_only=True)
    kept["identity"][key] = "other"
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    again = Kept(buffer.getvalue())

    with caplog.at_level(logging.WARNING):
        record = run_trial(spec(), checkpoints=again)

    assert words in caplog.text
    assert found(record) == found(run_trial(spec()))
    assert (again.n_saved, record["continued"]) == (16, [])
    joules = pytest.approx(sum(kept["energy"]["joules"].values()))
    assert again.discarded == [Spent(kept["seconds"], kept["flops"], joules)]


def test_every_module_that_a_trial_needs_is_part_of_its_version():
    """A fresh process that imports a trial and all techniques loads no other module of ours, but for these."""
    script = (
        "import sys, importlib; import experiments.trial\n"
        "from experiments.techniques import TECHNIQUES, find_technique\n"
        "[find_technique(name) for name in TECHNIQUES]\n"
        "print(*[name for name in sys.modules if name.startswith('experiments.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    folder = ROOT / "experiments"
    decisive = {path for pattern in continuing.DECISIVE_FILES for path in folder.glob(pattern)}
    loaded = {name.removeprefix("experiments.").replace(".", "/") for name in done.stdout.split()}
    # They measure, read settings, keep what was trained, or word messages.
    others = {"device", "energy", "kept_models", "sweep", "rules", "data", "techniques"}

    assert {name for name in loaded - others if folder / f"{name}.py" not in decisive} == set()
    assert all(any(folder.glob(pattern)) for pattern in continuing.DECISIVE_FILES)


def test_a_damaged_checkpoint_is_refused(caplog):
    """Half a file, or a pickle that would execute something: neither is read."""
    import pickle

    for content in (b"PK\x03\x04 half of it", pickle.dumps(print, protocol=2)):
        kept = Kept(content)
        with caplog.at_level(logging.WARNING):
            assert found(run_trial(spec(), checkpoints=kept)) == found(run_trial(spec()))
        assert "damaged" in caplog.text
        caplog.clear()


def test_a_checkpoint_of_another_model_lets_the_trial_begin_again(caplog):
    """As on a GPU, where pruning may come to other channels than before."""
    ended = Kept(killed_after=5)
    with pytest.raises(Killed):
        run_trial(spec(), checkpoints=ended)
    kept = torch.load(io.BytesIO(ended.content), weights_only=True)
    (entry,) = kept["trainings"].values()
    name = next(iter(entry["state"]["model"]))
    entry["state"]["model"][name] = torch.zeros(3)
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    again = Kept(buffer.getvalue())

    with caplog.at_level(logging.WARNING):
        record = run_trial(spec(), checkpoints=again)

    assert "another model" in caplog.text
    assert found(record) == found(run_trial(spec()))
    assert [spent.flops for spent in again.discarded] == [kept["flops"]]


def test_a_trial_goes_on_from_files_and_without_ray(tmp_path):
    """In a folder beside the records; a later attempt reads what an earlier one wrote."""

    class Dying(OwnCheckpoints):
        def save(self, content, spent):
            super().save(content, spent)
            raise Killed

    trial = spec()
    with pytest.raises(Killed):
        run_trial(trial, checkpoints=Dying(CheckpointFolder(tmp_path), trial.trial_id, every_seconds=0.0))
    later = CheckpointFolder(tmp_path)
    record = run_trial(trial, checkpoints=OwnCheckpoints(later, trial.trial_id, every_seconds=300.0))

    assert record["continued"] == ["train 1, step 1"]
    assert found(record) == found(run_trial(trial))
    assert later.retries(trial.trial_id)[0]["reason"] == "its sweep ended before it did"
    json.dumps(record, allow_nan=False)
