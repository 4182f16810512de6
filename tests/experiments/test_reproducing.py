"""`ninthpower reproduce`: the same trials give the same records, and what differs is named."""

import copy
import json

import pytest
import torch

import experiments.workbench
from cluster.records import read_records, write_record
from experiments.machine import Machine
from experiments.reproducing import compare_records
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.sweep import parse_sweep
from experiments.trial import run_trial

SWEEP = parse_sweep({
    "name": "twice", "dataset": "digits", "family": "mlp",
    "grid": {"width": [4, 8], "depth": 1, "n_train": 64, "seed": [0, 1]}, "training": {"epochs": 2, "base_width": 4},
    "execution": {"device": "cpu"},
})  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A results folder made by training."""
    results = tmp_path_factory.mktemp("kept") / SWEEP.name
    save_sweep(SWEEP, results)
    for spec in SWEEP.trials():
        write_record(results / TRIALS_FOLDER, run_trial(spec, Machine(device="cpu"), sweep=SWEEP.name))
    return results


@pytest.fixture
def changed(kept, tmp_path):
    """The same results with every record changed by a function."""

    def make(change):
        save_sweep(SWEEP, tmp_path / "changed")
        for record in read_records(kept / TRIALS_FOLDER):
            change(record)
            write_record(tmp_path / "changed" / TRIALS_FOLDER, record)
        return tmp_path / "changed"

    return make


def test_the_same_trials_are_the_same_to_the_last_bit(ninthpower, kept):
    """One of every cell is trained anew: errors, losses, FLOP, the whole curve; no clock is compared."""
    done = ninthpower("reproduce", kept, "--json")

    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["n_trials"] == 2
    assert found["conditions"] == []
    assert {"test_loss", "test_error", "train_flops", "n_params", "curve.train_loss"} <= set(found["columns"])
    assert not any("seconds" in name or "joules" in name for name in found["columns"])


def test_as_many_trials_as_are_asked_for(ninthpower, kept):
    """Three of four, of every cell one first."""
    done = ninthpower("reproduce", kept, "--trials", 3)

    assert done.returncode == 0
    assert "3 trials agree" in done.stdout


@pytest.mark.parametrize(("commit", "said"), [("0" * 40, "unseeded generator"), ("0" * 40 + "-dirty", "beyond it")])
def test_files_changed_beyond_the_commit_are_a_cause(kept, commit, said):
    """Two results of one commit's name may come from other code, if files were changed and not committed."""
    record = next(iter(read_records(kept / TRIALS_FOLDER)))
    record["environment"]["git_commit"] = commit
    other = copy.deepcopy(record)
    other["row"]["test_loss"] *= 2

    assert said in compare_records([(record, other)]).explanation


def test_what_is_drawn_without_a_seed_is_seen(ninthpower, kept, monkeypatch):
    """A start from the machine's own randomness: exit code 1, the columns, and no FLOP."""
    honest = experiments.workbench.parameter_groups

    def broken(*arguments, **settings):
        torch.seed()
        for weight in arguments[0].parameters():
            weight.data.add_(0.01 * torch.randn_like(weight))
        return honest(*arguments, **settings)

    monkeypatch.setattr(experiments.workbench, "parameter_groups", broken)
    done = ninthpower("reproduce", kept)

    assert done.returncode == 1
    assert "- test_loss differs in 2 trials" in done.stdout
    assert "train_flops" not in done.stdout


def test_other_threads_and_versions_are_named(ninthpower, kept, changed):
    """What the two were made under, whether or not it moved anything."""

    def older(record):
        record["environment"]["threads"] = 4
        record["environment"]["versions"]["torch"] = "1.0"
        record["row"]["test_loss"] *= 1 + 1e-6

    done = ninthpower("reproduce", kept, "--against", changed(older))

    assert done.returncode == 1
    assert "threads was 1, now 4" in done.stdout
    assert "torch was 2" in done.stdout
    assert "by up to 1e-06 of its value" in done.stdout


def test_seconds_joules_and_the_machine_are_no_claim_of_a_trial(ninthpower, kept, changed):
    """Ten times the time and energy on another processor: the same, and the processor is named."""

    def slower(record):
        for name in ("wall_seconds", "inference_seconds", "wall_seconds_train"):
            record["row"][name] *= 10
        record["row"]["device"] = "another core"

    done = ninthpower("reproduce", kept, "--against", changed(slower))

    assert done.returncode == 0, done.stdout
    assert "processor was" in done.stdout


def test_every_other_column_of_a_record_is_compared(kept):
    """A change of any number, at any place of the row or the curve, is found under its own name."""
    record = next(iter(read_records(kept / TRIALS_FOLDER)))
    numbers = [name for name, value in record["row"].items() if isinstance(value, int | float)]
    for name in numbers:
        other = copy.deepcopy(record)
        other["row"][name] += 1
        measured = ("seconds", "joules", "utilisation", "burden", "devices", "peak_memory")
        expected = 0 if any(word in name for word in measured) else 1
        expected = 0 if name in ("peak_flops_per_second", "inference_batch") else expected
        assert [one.column for one in compare_records([(record, other)]).differences] == [name] * expected
    for name in record["curve"][0]:
        other = copy.deepcopy(record)
        other["curve"][0][name] += 1
        assert [one.column for one in compare_records([(record, other)]).differences] == [f"curve.{name}"]


def test_a_failed_trial_is_no_witness(ninthpower, kept, changed):
    """Of trials that failed nothing can be said; where none is left, that is said, with exit code 2."""
    some = changed(lambda record: record.update(status="failed") if record["row"]["seed"] else None)

    done = ninthpower("reproduce", kept, "--against", some)

    assert done.returncode == 0
    assert "2 trials without a counterpart that came to an end" in done.stdout
    none = changed(lambda record: record.update(status="failed"))
    assert ninthpower("reproduce", none).returncode == 2
    assert "no trial in common" in ninthpower("reproduce", kept, "--against", none).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere"),
        (["{kept}", "--against", "{kept}", "--trials", "2"], "leave --trials and --threads away"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(ninthpower, kept, arguments, said):
    """Exit code 2."""
    done = ninthpower("reproduce", *(one.format(kept=kept) for one in arguments))

    assert done.returncode == 2
    assert said in done.stderr
