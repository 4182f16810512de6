"""The plan: exact where it can be, measured where it must be, refusing what cannot run."""

import itertools

import pytest
import torch
from PIL import Image
from rich.console import Console

from experiments.flops import count_family
from experiments.machine import Machine, n_cores
from experiments.plan import check_memory, check_sweep, plan_trials, summarise
from experiments.printing import print_plan
from experiments.running import plan_sweep
from experiments.step_costs import Calibration, ShapeCost, calibrate, shape_costs, shape_of
from experiments.sweep import parse_sweep
from experiments.trial import run_trial

MACHINE = Machine(device="cpu")


def sweep_of(**changes):
    """Six trials of two widths."""
    grid = {"width": [8, 32], "depth": 1, "n_train": [100, 400, 1000]}
    content = {"name": "test", "family": "mlp", "grid": grid, "training": {"epochs": 4}}
    return parse_sweep({**content, **changes})


@pytest.mark.parametrize("family", ["mlp", "resnet", "convnext", "vit", "mixer"])
def test_counts_on_models_without_weights_are_those_of_real_ones(family):
    """Parameters and FLOP planned are the parameters and FLOP that a trial finds."""
    trials = sweep_of(family=family, grid={"width": 16, "depth": 1, "n_train": 100}).trials()
    (cost,) = shape_costs(trials, MACHINE).values()
    real = count_family(family, width=16, depth=1, height=8, image_width=8, channels=1, n_classes=10)

    assert cost.n_params == real.n_params
    assert cost.flops_per_example == real.training_flops


def test_the_planned_flops_are_those_the_trial_spends():
    """To the last one."""
    sweep = sweep_of(grid={"width": 8, "depth": 1, "n_train": 150})
    (planned,) = plan_trials(sweep, MACHINE)

    assert run_trial(planned.spec, MACHINE)["row"]["train_flops"] == planned.flops


def test_memory_grows_with_batch_and_model():
    """Weights cost 16 bytes with AdamW, and saved activations grow with the batch."""
    small, large, wide = (
        shape_costs(sweep_of(grid={"width": width, "depth": 1, "n_train": 1000, "batch_size": batch}).trials(), MACHINE)
        for width, batch in ((8, 16), (8, 64), (512, 16))
    )
    bytes_of = [next(iter(costs.values())).memory_bytes for costs in (small, large, wide)]

    assert bytes_of[1] > bytes_of[0]
    assert bytes_of[2] - bytes_of[0] >= 16 * 500 * 64


def test_a_trial_needs_the_memory_of_its_teacher():
    """What a small student's machine must hold is its teacher, which is refused like any network."""
    grid = {"width": 8, "depth": 2, "n_train": 100, "technique": [{"distillation": {"teacher_width": 4_000_000}}]}
    sweep = sweep_of(grid=grid)
    (trial,) = plan_trials(sweep, MACHINE)

    assert trial.cost.memory_bytes > 16 * 4_000_000**2
    with pytest.raises(ValueError, match="a training of mlp with width 4000000"):
        check_memory(sweep.trials(), MACHINE)


def test_a_search_is_planned_on_the_data_that_the_machine_has(tmp_path):
    """A folder of images is named relative to the data folder, and looked at there."""
    for part, name, number in itertools.product(("train", "val"), ("ant", "bee"), range(4)):
        path = tmp_path / "images" / part / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(path)
    sweep = sweep_of(
        dataset="imagefolder:images?size=16",
        grid={"width": 8, "depth": 1, "n_train": 3, "technique": [{"architecture-search": {"families": "mlp"}}]},
    )
    (planned,) = plan_trials(sweep, Machine(device="cpu", data_folder=tmp_path))

    assert planned.flops > 0


def test_what_is_done_is_not_planned_again():
    """Time left counts the rest, FLOP in all count everything."""
    sweep = sweep_of()
    calibration = Calibration({"mlp": (0.01, 0.0, 0.0)}, watts=50.0)
    done = [trial.trial_id for trial in sweep.trials()[:2]]
    (line,) = summarise(plan_trials(sweep, MACHINE, done=done, calibration=calibration), sweep, workers=2, watts=50.0)
    (fresh,) = summarise(plan_trials(sweep, MACHINE, calibration=calibration), sweep, workers=2, watts=50.0)

    assert (line.n_trials, line.n_done) == (6, 2)
    assert line.flops == fresh.flops > line.flops_left
    assert line.seconds_left < fresh.seconds_left
    assert line.joules_left == pytest.approx(50.0 * line.seconds_left)


def test_no_plan_is_shorter_than_its_longest_trial():
    """A hundred workers do not split a trial."""
    sweep = sweep_of()
    planned = plan_trials(sweep, MACHINE, calibration=Calibration({"mlp": (0.01, 0.0, 0.0)}, watts=None))
    (line,) = summarise(planned, sweep, workers=100, watts=None)

    assert line.seconds_left == max(trial.seconds for trial in planned)
    assert line.joules_left is None


def test_money_follows_from_the_prices_given():
    """An hour at 3 and a kilowatt-hour at 0.4; without prices there is no money."""
    sweep = sweep_of(energy={"price_per_hour": 3.0, "price_per_kwh": 0.4})
    planned = plan_trials(sweep, MACHINE, calibration=Calibration({"mlp": (10.0, 0.0, 0.0)}, watts=100.0))
    (line,) = summarise(planned, sweep, workers=1, watts=100.0)
    (without,) = summarise(planned, sweep_of(), workers=1, watts=100.0)

    hours = line.seconds_left / 3600
    assert line.money_left == pytest.approx(3.0 * hours + 0.4 * 0.1 * hours)
    assert without.money_left is None


def test_each_technique_has_its_line():
    """And one for all."""
    sweep = sweep_of(grid={"width": 8, "depth": 1, "n_train": 100, "technique": ["baseline", "os.path:join"]})
    lines = summarise(plan_trials(sweep, MACHINE), sweep, workers=1, watts=None)

    assert [(line.name, line.n_trials) for line in lines] == [("baseline", 1), ("os.path:join", 1), ("all", 2)]


def test_a_calibration_predicts_the_steps_it_measured():
    """Larger networks take longer, and a predicted step lies near a measured one."""
    trials = sweep_of(grid={"width": [8, 1024], "depth": 2, "n_train": 1000}).trials()
    calibration = calibrate(trials, MACHINE)
    costs = shape_costs(trials, MACHINE)
    small, large = (calibration.step_seconds(shape_of(trial), costs[shape_of(trial)]) for trial in trials)

    assert 1e-5 < small < large < 1
    assert calibration.watts is None or calibration.watts > 0


def test_step_times_are_linear_in_depth_and_flops():
    """As the calibration's words say."""
    (shape,) = {shape_of(trial) for trial in sweep_of(grid={"width": 8, "depth": 3, "n_train": 100}).trials()}
    calibration = Calibration({"mlp": (0.1, 0.01, 1e-9)}, None)

    assert calibration.step_seconds(shape, ShapeCost(1, 1e6, 1)) == pytest.approx(0.1 + 0.03 + 32e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": {"width": 8, "depth": 1, "n_train": 1101}}, "take 10 to 1100"),
        ({"grid": {"width": 8, "depth": 1, "n_train": 9}}, "take 10 to 1100"),
        ({"dataset": "digts"}, "digts"),
        ({"family": "restnet"}, "restnet"),
        (
            {"grid": {"width": 8, "depth": 1, "n_train": 100, "technique": "prunning"}},
            "there is no technique 'prunning'",
        ),
        ({"family": "vit", "grid": {"width": 9, "depth": 1, "n_train": 100}}, "9"),
        (
            {"family": "vit", "training": {"base_width": 9}, "grid": {"width": 16, "depth": 1, "n_train": 99}},
            "base_width is 9",
        ),
    ],
)
def test_what_cannot_run_is_refused(changes, words):
    """Before anything is spent, with the reason."""
    with pytest.raises(ValueError, match=r".") as refusal:
        check_sweep(sweep_of(**changes), MACHINE)

    assert words in str(refusal.value)


def teachers_sweep(**grid):
    """Four students of two temperatures and two seeds, beside the baseline."""
    students = [{"distillation": {"teacher_width": 64, "temperature": [2.0, 4.0]}}]
    grid = {"width": 8, "depth": 1, "n_train": 100, "seed": [0, 1], "technique": ["baseline", *students], **grid}
    return sweep_of(grid=grid)


GPU = {"resources": {"gpus": 1}, "grid": {"width": 8, "depth": 1, "n_train": 100}}


def plan_without_gpu(monkeypatch, tmp_path, technique, **more):
    """A plan on a machine that has no GPU and a processor without bf16."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("experiments.techniques.low_precision.processor_flags", frozenset)
    sweep = sweep_of(**{**GPU, **more, "training": {"epochs": 4, "technique": technique}})
    return plan_sweep(sweep, results_folder=tmp_path, data_folder=None, workers=1)


def test_a_plan_judges_by_the_gpu_that_trials_are_given(monkeypatch, tmp_path, capsys):
    """What a GPU can and this processor cannot is planned, with a word on whose seconds those are, and the reverse."""
    plan = plan_without_gpu(monkeypatch, tmp_path, "low-precision")
    assert plan.elsewhere
    print_plan(plan, Console(width=200))
    assert "this machine has none: their time, energy and money are unknown" in capsys.readouterr().out

    with pytest.raises(ValueError, match="AMX or AVX-512"):
        plan_without_gpu(monkeypatch, tmp_path, "low-precision", resources={"cpus": 1})
    with pytest.raises(ValueError, match=r"(?i)quantization.*processor"):
        plan_without_gpu(monkeypatch, tmp_path, "quantization")


def test_a_plan_says_that_its_seconds_are_those_of_a_machine_as_busy(monkeypatch, tmp_path, capsys):
    """Whatever else it does at the time is in them."""
    plan = plan_without_gpu(monkeypatch, tmp_path, "baseline", resources={"cpus": 1})
    print_plan(plan, Console(width=200))

    said = capsys.readouterr().out
    assert "1 trial side by side on " in said
    assert "s of measured steps, as busy as the machine was then." in said
    assert "this machine has none" not in said


def test_what_trials_share_is_charged_to_each_and_done_once():
    """A teacher per seed, whatever the temperature: of four that are charged two are trained."""
    sweep = teachers_sweep()
    calibration = Calibration({"mlp": (0.01, 0.0, 0.0)}, watts=50.0)
    planned = plan_trials(sweep, MACHINE, calibration=calibration)
    plain, students, everything = summarise(planned, sweep, workers=1, watts=50.0)
    (teacher,) = plan_trials(sweep_of(grid={"width": 64, "depth": 1, "n_train": 100}), MACHINE, calibration=calibration)

    assert students.flops - students.flops_left == pytest.approx(2 * teacher.flops)
    assert plain.flops == plain.flops_left
    assert everything.flops_left == pytest.approx(plain.flops_left + students.flops_left)
    # A step takes 10 ms whatever its model.
    longer = sorted(trial.seconds for trial in planned if trial.spec.technique == "distillation")
    assert longer[2:] == pytest.approx([seconds + 0.01 * teacher.n_steps for seconds in longer[:2]])
    assert students.seconds_left == pytest.approx(sum(longer))
    assert students.joules_left == pytest.approx(50.0 * students.seconds_left)


def test_what_a_finished_trial_has_made_is_not_planned_again():
    """Its teacher lies on the machine for the students that are left."""
    sweep = teachers_sweep(seed=0)
    first, second = (trial for trial in plan_trials(sweep, MACHINE) if trial.spec.technique == "distillation")
    assert (first.flops_here, second.flops_here < second.flops) == (first.flops, True)

    left = plan_trials(sweep, MACHINE, done=[second.spec.trial_id])
    (again,) = [trial for trial in left if trial.spec.trial_id == first.spec.trial_id]

    assert again.flops == first.flops
    assert again.flops_here == second.flops_here


def test_nothing_is_shared_where_nothing_is_the_same():
    """Other examples, another seed, another network: a teacher each."""
    sweep = teachers_sweep(technique=["distillation"], n_train=[100, 200], width=[8, 16], seed=[0, 1])
    planned = plan_trials(sweep, MACHINE)

    assert len(planned) == 8
    assert all(trial.flops_here == trial.flops for trial in planned)


def test_trials_of_more_threads_than_cores_are_measured_on_the_cores():
    """Sixty-four threads on two cores wait for one another, for minutes."""
    before = torch.get_num_threads()
    try:
        calibrate(sweep_of(grid={"width": 8, "depth": 1, "n_train": 100}).trials(), Machine(device="cpu", threads=64))
        assert torch.get_num_threads() == min(64, n_cores())
    finally:
        torch.set_num_threads(before)
