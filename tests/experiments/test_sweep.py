"""Sweep files: what they expand to, and what is said of a wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.running import machine_for, worker_machine
from experiments.spec import TrialSpec
from experiments.sweep import axis_values, load_sweep, parse_sweep

POINT = {"dataset": "digits", "family": "mlp", "width": 8, "depth": 1, "n_train": 100}


def sweep_of(**content):
    """A sweep of one trial, changed by the arguments."""
    return parse_sweep({"name": "test", "grid": {"width": 8, "depth": 1, "n_train": 100}, **content})


def test_a_grid_is_the_product_of_its_axes():
    """Two widths, two depths, three seeds: twelve trials, none twice."""
    sweep = sweep_of(grid={"width": [8, 16], "depth": [1, 2], "n_train": 100, "seed": [0, 1, 2]})

    assert len({trial.trial_id for trial in sweep.trials()}) == 12


def test_a_point_that_the_grid_holds_already_is_not_run_twice():
    """Grid and points are united by what the trials are."""
    sweep = sweep_of(points=[{"width": 8, "depth": 1, "n_train": 100}, {"width": 64, "depth": 1, "n_train": 100}])

    assert [trial.width for trial in sweep.trials()] == [8, 64]


def test_a_point_with_lists_is_a_grid_of_its_own():
    """So a point can have several seeds."""
    sweep = sweep_of(points=[{"width": 64, "depth": 1, "n_train": 100, "seed": [0, 1, 2]}])

    assert [trial.seed for trial in sweep.trials() if trial.width == 64] == [0, 1, 2]


def test_training_defaults_reach_every_trial_and_the_grid_overrides_them():
    """A field of the trial may stand in either place."""
    sweep = sweep_of(training={"epochs": 7, "width": 4}, grid={"width": [8, 16], "depth": 1, "n_train": 100})

    assert {(trial.epochs, trial.width) for trial in sweep.trials()} == {(7.0, 8), (7.0, 16)}


def test_options_of_a_technique_are_axes_too():
    """Dotted keys fill the mapping of options, value by value."""
    sweep = sweep_of(grid={**POINT, "technique": "a.b:c", "technique_options.density": [0.1, 0.5]})

    assert [trial.technique_options for trial in sweep.trials()] == [{"density": 0.1}, {"density": 0.5}]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ({"log2": [4, 64]}, [4, 8, 16, 32, 64]),
        ({"log2": [3, 20]}, [3, 6, 12]),
        ({"geometric": {"from": 10, "to": 1000, "points": 3}}, [10, 100, 1000]),
        ({"geometric": {"from": 1, "to": 2, "points": 5}}, [1, 2]),
        ([1, 5], [1, 5]),
        (7, [7]),
    ],
)
def test_ranges_of_whole_numbers(axis, values):
    """Doublings, geometric steps rounded without repetition, lists and single values."""
    assert axis_values("n_train", axis) == values


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 50))
def test_a_geometric_range_begins_and_ends_where_it_is_told(first, second, points):
    """Both ends are in it, and it rises."""
    low, high = sorted((first, second))
    values = axis_values("n_train", {"geometric": {"from": low, "to": high, "points": points}})

    assert (values[0], values[-1]) == (low, high)
    assert values == sorted(set(values))


def test_numbers_that_yaml_reads_as_text_are_numbers():
    """YAML 1.1 takes 1e-3 for a word."""
    sweep = sweep_of(grid={**POINT, "learning_rate": ["1e-3"]})

    assert sweep.trials()[0].learning_rate == 0.001


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"gird": {}}, "unknown key 'gird'; did you mean 'grid'?"),
        ({"resources": {"cpu": 2}}, "unknown key 'resources.cpu'; did you mean 'cpus'?"),
        ({"grid": {"widht": 3}}, "grid.widht is no field of a trial; did you mean 'width'?"),
        ({"points": [{"sed": 3}]}, "points[0].sed is no field of a trial; did you mean 'seed'?"),
        ({"training": {"optimiser": "sgd"}}, "did you mean 'optimizer'?"),
        ({"grid": {"width": 0, "depth": 1, "n_train": 9}}, "width is 0"),
        ({"grid": {"width": 8, "depth": 1}}, "the key 'n_train' is missing"),
        ({"grid": {}}, "the sweep has no trials"),
        ({"grid": {"width": [], "depth": 1, "n_train": 9}}, "grid.width is an empty list"),
        ({"grid": {"width": {"log2": [4]}}}, "a range is {log2: [4, 64]}"),
        ({"grid": {"width": {"log2": [64, 4]}}}, "0 < first <= last"),
        ({"name": "../../etc"}, "is no name"),
        ({"name": "a b"}, "is no name"),
        ({"fit": {"laws": []}}, "fit.laws is []"),
    ],
)
def test_a_wrong_sweep_is_refused_with_the_place_and_the_remedy(content, words):
    """One sentence: the key or value, and the nearest that is allowed."""
    with pytest.raises(ValueError, match=r".") as refusal:
        sweep_of(**content)

    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_overrides_from_the_command_line(tmp_path):
    """Values are YAML; keys reach into mappings, dotted options of techniques included."""
    file = tmp_path / "sweep.yaml"
    file.write_text("name: test\ngrid: {width: 4, depth: 1, n_train: 100}\n")

    sweep = load_sweep(file, ["grid.width=[8,16]", "training.epochs=3", "resources.cpus=2"])

    assert [(trial.width, trial.epochs) for trial in sweep.trials()] == [(8, 3.0), (16, 3.0)]
    assert sweep.resources.cpus == 2


@pytest.mark.parametrize("override", ["grid.width", "=3", "name.first=3"])
def test_a_wrong_override_is_refused(tmp_path, override):
    """With the override in the sentence."""
    file = tmp_path / "sweep.yaml"
    file.write_text("name: test\ngrid: {width: 4, depth: 1, n_train: 100}\n")

    with pytest.raises(ValueError, match="--set"):
        load_sweep(file, [override])


def test_yaml_that_would_build_objects_is_refused(tmp_path):
    """Sweep files are data, never code."""
    file = tmp_path / "sweep.yaml"
    file.write_text("name: !!python/object/apply:os.system ['true']\n")

    with pytest.raises(ValueError, match="is no YAML"):
        load_sweep(file)


def test_the_id_is_a_hash_of_the_content_that_does_not_change():
    """Records are found again by it, so a change of this number loses every user's finished work."""
    assert TrialSpec(**POINT).trial_id == TrialSpec(**POINT, seed=0).trial_id
    assert TrialSpec(**POINT).trial_id == "70673dfdc6d8e1a7"


def test_trials_of_a_cell_differ_by_seed_alone():
    """The cell forgets the seed and nothing else."""
    first, second, other = (TrialSpec(**POINT, **more) for more in ({}, {"seed": 1}, {"epochs": 2}))

    assert first.cell == second.cell != other.cell
    assert len({first.trial_id, second.trial_id, other.trial_id}) == 3


def test_a_technique_may_bring_axes_of_its_own():
    """Options cross with each other, and with no other technique."""
    entry = {"a.b:prune": {"density": [0.1, 0.5], "steps": {"log2": [1, 2]}}}
    sweep = sweep_of(grid={**POINT, "technique": ["baseline", entry]})

    assert [(trial.technique, trial.technique_options) for trial in sweep.trials()] == [
        ("baseline", {}),
        *[("a.b:prune", {"density": density, "steps": steps}) for density in (0.1, 0.5) for steps in (1, 2)],
    ]


@pytest.mark.parametrize("entry", [{"a": {"x": 1}, "b": {"x": 1}}, {"a": 0.5}])
def test_a_technique_that_is_no_name_with_options_is_refused(entry):
    """The form is shown."""
    with pytest.raises(ValueError, match="is no name and no"):
        sweep_of(grid={**POINT, "technique": [entry]})


@pytest.mark.parametrize(
    ("gpus", "device", "expected"), [(1, "auto", "cuda"), (0, "auto", "auto"), (0.5, "cpu", "cpu")]
)
def test_a_trial_that_is_given_a_gpu_does_not_train_elsewhere_without_a_word(gpus, device, expected):
    """Where torch cannot use the GPU, the trial fails and says so."""
    sweep = parse_sweep(
        {
            "name": "a",
            "family": "mlp",
            "resources": {"gpus": gpus},
            "execution": {"device": device},
            "points": [{"width": 4, "depth": 1, "n_train": 64}],
        }
    )

    assert worker_machine(sweep, machine_for(sweep, None)).device == expected
