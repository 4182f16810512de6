"""One trial, in plain Python: what it records, and that whatever goes wrong is a record too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from experiments.evaluation import evaluate, measure_latency
from experiments.flops import count_family
from experiments.machine import Machine
from experiments.spec import TrialSpec
from experiments.trial import run_payload, run_trial
from experiments.workbench import TrainedModel
from scaling.columns import COLUMNS
from scaling.runs import from_rows

ROOT = Path(__file__).parents[2]
TIMINGS = {
    "carbon_grams", "inference_seconds", "utilisation", "hardware_burden_flop", "wall_seconds", "wall_seconds_train",
    "wall_seconds_overhead", "energy_joules", "energy_joules_train", "energy_joules_overhead", "peak_memory_bytes",
    "peak_memory_bytes_train",
}  # fmt: skip


def spec(**changes):
    """A trial of a second."""
    fields = {"dataset": "digits", "family": "mlp", "width": 16, "depth": 1, "n_train": 200, "epochs": 5}
    return TrialSpec(**{**fields, "learning_rate": 0.01, **changes})


@pytest.fixture(scope="module")
def record():
    """A finished trial."""
    return run_trial(spec(), Machine(region="FRA"), sweep="test")


def test_a_record_is_plain_data_with_every_column(record):
    """JSON holds it without NaN; its row is a row of the runs table, and no column is forgotten."""
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    table = from_rows([record["row"]])
    optional = {"reason", "note", "n_shift_test", "sparse_train_flops", "sparse_inference_flops"}
    assert {column.name for column in COLUMNS} - set(table.columns) == optional
    assert record["status"] == "finished"


def test_the_trial_learns(record):
    """200 digits teach a small network far more than guessing."""
    assert record["row"]["test_error"] < 0.4
    assert record["curve"][-1]["validation_loss"] < record["curve"][0]["validation_loss"]


def test_flops_are_steps_times_the_count_on_the_graph(record):
    """31 steps of 32 examples, each the cost of one forward and backward pass."""
    cost = count_family("mlp", width=16, depth=1, height=8, image_width=8, channels=1, n_classes=10)

    assert record["row"]["train_flops"] == pytest.approx(31 * 32 * cost.training_flops)
    assert record["row"]["inference_flops"] == cost.inference_flops
    assert record["row"]["n_params"] == cost.n_params


def test_the_phases_sum_to_the_totals(record):
    """FLOP, seconds and joules by phase are the whole; the trial's own meter read the same joules."""
    phases, row = record["phases"], record["row"]

    assert [phase["phase"] for phase in phases] == ["train", "overhead"]
    assert sum(phase["flops"] for phase in phases) == row["train_flops"]
    assert sum(phase["wall_seconds"] for phase in phases) == pytest.approx(row["wall_seconds"])
    assert sum(phase["energy_joules"] for phase in phases) == pytest.approx(row["energy_joules"])
    assert sum(record["energy"]["joules"].values()) == pytest.approx(row["energy_joules"])
    assert row["wall_seconds_train"] + row["wall_seconds_overhead"] == pytest.approx(row["wall_seconds"])
    assert row["peak_memory_bytes_train"] == phases[0]["peak_memory_bytes"] == row["peak_memory_bytes"]


def test_burden_utilisation_and_carbon_follow_from_what_was_measured(record):
    """Peak rate x seconds; FLOP over that; joules x intensity."""
    row, seconds = record["row"], record["phases"][0]["wall_seconds"]

    assert row["hardware_burden_flop"] == pytest.approx(row["peak_flops_per_second"] * seconds)
    assert row["utilisation"] == pytest.approx(row["train_flops"] / row["hardware_burden_flop"])
    assert 0 < row["utilisation"] < 1
    assert row["carbon_grams"] == pytest.approx(row["energy_joules"] / 3.6e6 * row["carbon_intensity_g_per_kwh"])


def test_the_same_spec_gives_the_same_record_in_another_process(record):
    """On a CPU with one thread, to the last bit, timings aside."""
    program = (
        "import json, sys; from experiments.trial import run_payload; from experiments.machine import Machine\n"
        "print(json.dumps(run_payload(json.loads(sys.argv[1]), machine=Machine(region='FRA'), sweep='test')))"
    )
    payload = json.dumps({"spec": record["spec"]})
    done = subprocess.run(
        [sys.executable, "-c", program, payload], cwd=ROOT, capture_output=True, text=True, check=True
    )
    other = json.loads(done.stdout)

    for one in (record, other):
        assert set(one["row"]) >= TIMINGS
    assert {k: v for k, v in record["row"].items() if k not in TIMINGS} == {
        k: v for k, v in other["row"].items() if k not in TIMINGS
    }
    assert record["curve"] == other["curve"]


def test_a_trial_leaves_nothing_behind_for_the_next(record):
    """A process that ran other trials, and a disturbed random state, give the same result."""
    run_trial(spec(width=8, seed=5))
    torch.manual_seed(99)
    torch.set_grad_enabled(False)
    again = run_payload({"spec": record["spec"]}, machine=Machine())

    assert again["row"]["test_error"] == record["row"]["test_error"]
    assert again["row"]["test_loss"] == record["row"]["test_loss"]


def test_another_seed_gives_another_result():
    """Else cells would have no spread."""
    first, second = (run_trial(spec(seed=seed))["row"] for seed in (0, 1))

    assert first["test_loss"] != second["test_loss"]
    assert first["cell"] == second["cell"]


def test_divergence_is_a_result_with_what_was_spent():
    """No error, but FLOP, parameters and a reason."""
    row = run_trial(spec(optimizer="sgd", learning_rate=1e20))["row"]

    assert row["status"] == "diverged"
    assert "loss" in row["reason"]
    assert "test_error" not in row
    assert 0 < row["train_flops"] < run_trial(spec())["row"]["train_flops"]


def test_a_time_limit_stops_a_trial():
    """With what was spent until then."""
    row = run_trial(spec(epochs=1000), Machine(time_limit_seconds=0.5))["row"]

    assert row["status"] == "stopped"
    assert "time limit" in row["reason"]
    assert row["train_flops"] > 0


def test_choosing_the_best_pass_is_charged():
    """Validation passes that decide are a phase of their own."""
    row = run_trial(spec(selection="best"))["row"]

    assert row["train_flops_validate"] == 6 * 250 * row["inference_flops"]
    assert row["train_flops"] == row["train_flops_train"] + row["train_flops_validate"]


def broken(workbench):
    """A technique that crashes after spending something."""
    with workbench.ledger.phase("train") as phase:
        phase.flops += 5
        raise RuntimeError("the disk is on fire")


def hungry(workbench):
    """A technique that asks for more memory than there is."""
    assert workbench.spec.n_train
    raise torch.OutOfMemoryError("1000 GiB")


def frozen(workbench):
    """A technique of a user's own: nothing is learnt, and half of the first layer is cut away."""
    trained = workbench.train(workbench.build_model(), phase="train")
    with torch.no_grad():
        weight = next(parameter for parameter in trained.model.parameters() if parameter.ndim == 2)
        weight[: len(weight) // 2] = 0
    return TrainedModel(trained.model, trained.training, sparse=True)


@pytest.fixture
def techniques(monkeypatch):
    """The functions above, importable by name as a user's own are."""
    monkeypatch.setitem(sys.modules, "techniques_under_test", sys.modules[__name__])


def insatiable(workbench):
    """A technique that really asks for a petabyte."""
    return torch.empty(2**50 // workbench.spec.n_train)


@pytest.mark.usefixtures("techniques")
def test_a_lack_of_memory_is_told_from_other_failures():
    """Who runs trials may give it another chance alone; torch says it in words on a processor."""
    names = ("insatiable", "hungry", "broken")
    found = {name: run_trial(spec(technique=f"techniques_under_test:{name}")) for name in names}

    assert {name: record["out_of_memory"] for name, record in found.items()} == {
        "insatiable": True, "hungry": True, "broken": False
    }  # fmt: skip


@pytest.mark.usefixtures("techniques")
def test_a_crash_is_a_record_with_the_traceback():
    """The last line is the row's reason; what was spent is kept."""
    record = run_trial(spec(technique="techniques_under_test:broken"))

    assert record["status"] == "failed"
    assert "Traceback" in record["reason"]
    assert record["row"]["reason"] == "RuntimeError: the disk is on fire"
    assert record["row"]["train_flops"] == 5


@pytest.mark.usefixtures("techniques")
def test_running_out_of_memory_says_what_to_do():
    """A record with the remedy."""
    assert "take a smaller batch_size" in run_trial(spec(technique="techniques_under_test:hungry"))["row"]["reason"]


@pytest.mark.usefixtures("techniques")
def test_a_technique_of_ones_own_is_measured_as_deployed():
    """Parameters that were cut away do not count; a dead unit of a plain network does."""
    plain, cut = (run_trial(spec(technique=name))["row"] for name in ("baseline", "techniques_under_test:frozen"))

    assert (
        plain["n_params"]
        == count_family("mlp", width=16, depth=1, height=8, image_width=8, channels=1, n_classes=10).n_params
    )
    assert plain["n_params"] - 8 * 64 - 32 <= cut["n_params"] <= plain["n_params"] - 8 * 64
    assert cut["technique"] == "techniques_under_test:frozen"


def test_options_for_plain_training_are_refused():
    """A silently ignored option would be a wrong result."""
    row = run_trial(spec(technique_options={"density": 0.5}))["row"]

    assert row["status"] == "failed"
    assert "has no option 'density'; it has none, remove it" in row["reason"]


class Fixed:
    """Batches of the test's own."""

    device = torch.device("cpu")
    n_classes = 3

    def __init__(self, logits, labels):
        self.logits, self.labels = logits, labels

    def once(self, _):
        yield self.logits[:2], self.labels[:2]
        yield self.logits[2:], self.labels[2:]


def test_the_memory_layout_changes_no_result():
    """Convolutions in channels_last: other kernels, the same sums but for rounding, and the same account."""
    asked = spec(family="resnet", width=4, n_train=64, epochs=2)
    plain, other = (run_trial(asked, Machine(device="cpu", channels_last=last))["row"] for last in (False, True))

    assert other["test_loss"] == pytest.approx(plain["test_loss"], rel=1e-3)
    for name in ("train_flops", "inference_flops", "n_params", "model_bytes"):
        assert other[name] == plain[name]


def test_a_compiled_model_is_the_same_model(monkeypatch):
    """Its graph is captured and run as it stands: what is made of it by a compiler takes minutes, and is torch's."""
    compile_model, seen = torch.compile, []

    def captured(model):
        def run(graph, _examples):
            seen.append(graph)
            return graph.forward

        return compile_model(model, backend=run)

    monkeypatch.setattr(torch, "compile", captured)
    asked = spec(n_train=64, epochs=2)
    plain, compiled = (run_trial(asked, Machine(device="cpu", compile=one)) for one in (False, True))

    assert compiled["status"] == "finished", compiled["reason"]
    assert seen
    for name in ("test_loss", "train_flops", "inference_flops", "n_params", "model_bytes"):
        assert compiled["row"][name] == plain["row"][name]


def test_error_and_loss_are_means_over_examples_not_batches():
    """Batches of 2 and 3 weigh by their examples; a not-a-number logit is an error."""
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [9, 0, 0], [0, 9, 0]])
    labels = torch.tensor([0, 1, 0, 0, 1])
    error, loss = evaluate(torch.nn.Identity(), Fixed(logits, labels))
    expected = torch.nn.functional.cross_entropy(logits, labels)

    assert error == pytest.approx(1 / 5)
    assert loss == pytest.approx(float(expected))
    logits[0] = float("nan")
    assert evaluate(torch.nn.Identity(), Fixed(logits, labels))[0] == pytest.approx(2 / 5)


def test_latency_is_per_example_and_leaves_the_mode_alone():
    """A model that sleeps 64 times a millisecond per batch takes a millisecond per example."""

    class Slow(torch.nn.Module):
        def forward(self, images):
            assert not self.training
            torch.zeros(1)
            import time

            time.sleep(0.001 * len(images))
            return images

    model = Slow().train()

    # A sleep is never shorter than asked, and longer on a busy machine.
    assert 0.001 <= measure_latency(model, torch.zeros(1, 1, 8, 8)) < 0.004
    assert model.training
