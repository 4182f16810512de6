"""Several processes that train one model: they find what one process finds."""

import multiprocessing
import os
import re
import signal
from contextlib import nullcontext

import psutil
import pytest
import torch
from torch import nn

from experiments import team
from experiments.ledger import Ledger
from experiments.machine import Machine
from experiments.ranks import Ranks, check_ranks
from experiments.spec import TrialSpec
from experiments.sweep import parse_sweep
from experiments.trial import run_trial

# Sums over parts are taken in another order than over the whole.
CLOSE = 2e-4
# At the very least; 325 MiB and more were seen [bytes].
A_PROCESS_WITH_TORCH = 150 * 2**20


def spec(**changes):
    """A trial of a dozen steps."""
    fields = {"dataset": "digits", "family": "mlp", "width": 8, "depth": 1, "n_train": 96, "epochs": 4}
    return TrialSpec(**{**fields, "batch_size": 32, "learning_rate": 0.01, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        # AdamW's first steps are signs of gradients, and those of a network with batch norm are near 0 in places, where
        # the order of sums decides the sign; plain descent does not magnify that.
        {"family": "resnet", "width": 4, "augmentation": "shift", "selection": "best", "optimizer": "sgd"},
        {"technique": "magnitude-pruning"},
    ],
)
@pytest.mark.slow
def test_two_processes_find_what_one_finds(changes):
    """The same examples in the same batches: curve, error, weights cut and FLOP; batch norm over the whole batch."""
    alone = run_trial(spec(**changes), Machine(device="cpu"))
    together = run_trial(spec(**changes), Machine(device="cpu", threads=2, data_parallel=2))

    assert together["status"] == alone["status"] == "finished", together["reason"]
    for one, two in zip(alone["curve"], together["curve"], strict=True):
        assert two == pytest.approx(one, rel=CLOSE)
    for name in ("test_error", "test_loss", "shift_error", "train_flops", "inference_flops", "n_params", "model_bytes"):
        assert together["row"][name] == pytest.approx(alone["row"][name], rel=CLOSE), name
    flops = [[(phase["phase"], phase["flops"]) for phase in one["phases"]] for one in (alone, together)]
    assert flops[0] == flops[1]
    assert together["row"]["devices"] == 2
    assert sum(phase["energy_joules"] or 0 for phase in together["phases"]) == pytest.approx(
        sum(together["energy"]["joules"].values())
    )
    # What the second process adds is its own; what this one holds depends on what ran here before.
    peaks = [one["phases"][0]["peak_memory_bytes"] for one in (alone, together)]
    assert peaks[1] - peaks[0] > A_PROCESS_WITH_TORCH
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def check(gpus=0.0, can=True, n=4, **changes):
    """Whether a trial could be run by so many processes."""
    check_ranks(spec(**changes), Machine(data_parallel=n), gpus=gpus, can=can)


def test_what_makes_no_sense_is_refused_before_anything_is_spent():
    """Processes without a GPU each, batches of unequal parts, techniques that train elsewhere."""
    check(gpus=4)
    check(gpus=0)
    with pytest.raises(ValueError, match=re.escape("resources.gpus 2; each process needs a GPU of its own")):
        check(gpus=2)
    with pytest.raises(ValueError, match="batch of 30 examples does not fall into 4 equal parts"):
        check(batch_size=30)
    with pytest.raises(ValueError, match="technique 'baseline' shares trainings"):
        check(can=False)
    with pytest.raises(ValueError, match="data_parallel"):
        parse_sweep(
            {"name": "x", "points": [{"width": 4, "depth": 1, "n_train": 96}], "execution": {"data_parallel": 0}}
        )


def test_a_lone_process_is_left_as_it_is():
    """The whole batch, the model itself, its own loss."""
    batch, model = torch.arange(6), nn.Linear(2, 2)
    with Ranks().joined(model) as joined:
        assert joined is model
    assert Ranks().part(batch) is batch
    assert torch.equal(torch.cat([Ranks(rank, 3).part(batch) for rank in range(3)]), batch)


def test_batch_norm_that_would_look_at_a_part_of_the_batch_is_refused():
    """Of another kind than the one that is shared, or a kind of one's own."""

    class Own(nn.BatchNorm2d):
        pass

    for norm in (nn.BatchNorm1d(2), Own(2)):
        model = nn.Sequential(nn.Linear(2, 2), norm)
        with (
            pytest.raises(ValueError, match=rf"the model has {type(norm).__name__}.*set execution\.data_parallel: 1"),
            Ranks(0, 2).joined(model),
        ):
            pass


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError("640 kB"), MemoryError, "640 kB"),
        (RuntimeError("[enforce fail at alloc_cpu] DefaultCPUAllocator: can't allocate memory"), MemoryError, "alloc"),
        (OSError("the cache cannot be read"), RuntimeError, "OSError: the cache cannot be read"),
        (None, RuntimeError, "ended without a word"),
    ],
)
def test_what_another_process_fails_by_is_what_the_trial_fails_by(monkeypatch, tmp_path, error, kind, words):
    """With its traceback, and so that a trial without memory is tried once more alone."""

    def fail(*_):
        raise error

    monkeypatch.setattr(team, "_group", lambda *_: nullcontext())
    monkeypatch.setattr(team, "_end_with_parent", lambda: None)
    here, there = multiprocessing.Pipe(duplex=False)
    if error is not None:
        team._run_rank(fail, Ranks(1, 2), str(tmp_path), spec(), Machine(device="cpu"), None, there)
        assert here.recv_bytes() == b"here"
    there.close()

    with here, pytest.raises(kind, match=re.escape(words)):
        team._gather(Ledger(account=None), [here])


@pytest.mark.slow
def test_a_process_that_dies_fails_the_trial_with_a_word(monkeypatch):
    """Rank 0 does not wait for it for ever."""
    from experiments import ranks

    joined = Ranks.joined

    def kill_the_other(self, model):
        for child in psutil.Process().children():
            if "spawn_main" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        return joined(self, model)

    monkeypatch.setattr(ranks.Ranks, "joined", kill_the_other)

    record = run_trial(spec(), Machine(device="cpu", threads=2, data_parallel=2))

    assert record["status"] == "failed"
    assert "Connection" in record["reason"] or "closed" in record["reason"], record["reason"]
