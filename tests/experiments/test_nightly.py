"""`ninthpower nightly` and `ninthpower baseline`: what is written, and every way in which a night cannot be judged.

The trials are drawn from a known law, without training; real ones are in test_nightly_injected.
"""

import datetime as dt
import json
import math
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cluster.records import write_record
from experiments.baseline import Baseline, read_baseline
from experiments.conditions import Audited, Conditions, Kernel, kernel_uncertainty, not_comparable, save_conditions
from experiments.history import read_history
from experiments.night_outputs import COMMENT_MARK
from experiments.nightly import in_kernels
from experiments.reference_kernel import kernel_beside
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.spec import TrialSpec
from experiments.sweep import parse_sweep

SHIPPED_BASELINE = Path(__file__).parents[2] / "baselines" / "nightly.json"
SWEEP = parse_sweep({
    "name": "guarded", "dataset": "digits", "family": "mlp",
    "points": [{"width": 8 * n, "depth": 1, "n_train": 100 * n, "seed": list(range(6))} for n in (1, 2, 4)],
})  # fmt: skip


def row(spec: TrialSpec, gain: float, seconds: float):
    """A trial's row under a power law with luck of its seed."""
    spent = 1e6 * spec.width * spec.n_train
    luck = np.random.default_rng([spec.seed, spec.width]).normal(0, 0.05)
    return {
        "trial_id": spec.trial_id, "sweep": "guarded", "dataset": spec.dataset, "family": spec.family,
        "technique": spec.technique, "seed": spec.seed, "status": "finished", "width": spec.width, "depth": spec.depth,
        "n_train": spec.n_train, "n_test": 10_000, "epochs": spec.epochs, "learning_rate": spec.learning_rate,
        "test_loss": math.exp(luck) * (spent * gain / 1e8) ** -0.4, "train_flops": spent,
        "test_error": 0.5 * math.exp(luck) * (spent * gain / 1e8) ** -0.3, "wall_seconds": seconds,
    }  # fmt: skip


def conditions(**changed):
    """What every night here ran on."""
    audit = [
        Audited(dataset=one.dataset, family=one.family, technique=one.technique, width=one.width, depth=one.depth,
                n_train=one.n_train, flops_per_step=1e6, labels_digest="0")
        for one in SWEEP.trials() if one.seed == 0
    ]  # fmt: skip
    kernel = Kernel(seconds=0.2, spread=1.0, energy_source="unknown")
    known = {"device_class": "a core", "versions": {"torch": "2.0"}, "kernel": (kernel, kernel), "audit": tuple(audit)}
    return Conditions(**{**known, **changed})


def beside(start, *, kernel=0.05, slow_half=1.0):
    """A short round of the kernel every half second of a night's 18 trials of 20 s; its second half may be slower."""
    return tuple(
        (start.timestamp() + second / 2, kernel * (slow_half if second >= 360 else 1.0)) for second in range(720)
    )


@pytest.fixture
def night(tmp_path):
    """Write the results of a night, a day after the one before."""
    starts = (dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in range(1, 32))

    def make(name="kept", *, gain=1.0, seconds=1.0, n_trials=18, kernel=0.05, slow_half=1.0, **changed):
        results, start = tmp_path / "nights" / name / "guarded", next(starts)
        save_sweep(SWEEP, results)
        for place, spec in enumerate(SWEEP.trials()[:n_trials]):
            began, slow = start + dt.timedelta(seconds=20 * place), slow_half if place >= 9 else 1.0
            record = {
                "trial_id": spec.trial_id, "status": "finished", "row": row(spec, gain, seconds * slow),
                "started_at": began.isoformat(), "ended_at": (began + dt.timedelta(seconds=16)).isoformat(),
            }  # fmt: skip
            write_record(results / TRIALS_FOLDER, record)
        (results / "fits.json").write_text('{"fits": []}')
        known = {"kernel_beside": beside(start, kernel=kernel, slow_half=slow_half), "kernel_step_seconds": 0.002}
        save_conditions(conditions(**{**known, **changed}), results)
        return results

    make.folder = lambda name: tmp_path / "nights" / name / "guarded" / "night"
    return make


@pytest.fixture
def judge(ninthpower, night, tmp_path):
    """Keep a night, and judge another against it from the command line."""
    assert ninthpower("baseline", night(), "--out", tmp_path / "kept.json").returncode == 0

    def run(results, *more):
        return ninthpower(
            "nightly", "--results", results, "--baseline", tmp_path / "kept.json", "--nights", tmp_path / "nights",
            "--no-track", *more,
        )  # fmt: skip

    return run


def test_the_same_night_passes(judge, night):
    """Exit code 0, and it is said that nothing changed."""
    done = judge(night("again"))

    assert done.returncode == 0, done.stderr
    assert "Nothing has changed" in done.stdout


def test_a_loss_fails_and_everybody_is_told(judge, night, monkeypatch, tmp_path):
    """Exit code 1; the same reason in the summary, the comment, the JUnit file and the JSON; a figure."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    results = night("worse", gain=0.8)

    done = judge(results)

    folder = results / "night"
    assert done.returncode == 1, done.stderr
    assert "dearer" in (tmp_path / "step.md").read_text()
    assert (folder / "comment.md").read_text().startswith(COMMENT_MARK)
    failures = ElementTree.parse(folder / "junit.xml").getroot().findall("./testcase/failure")
    content = json.loads((folder / "night.json").read_text())
    assert [failure.get("message") for failure in failures] == content["regressions"]
    assert len(failures) == 2
    # A law's own exponent turns the error into compute: 0.8 of it is 25% more to spend.
    assert content["gains"]["baseline"] == pytest.approx(0.8, abs=0.02)
    for suffix in (".png", ".svg", ".csv"):
        assert (folder / f"gains{suffix}").stat().st_size


def test_another_machine_is_not_blamed_for_its_clock(judge, night):
    """Ten times the seconds on another processor: no number, the reason, no failure."""
    done = judge(night("elsewhere", seconds=10.0, device_class="another core"))

    assert done.returncode == 0, done.stderr
    assert "another machine" in done.stdout


def test_the_clock_is_read_in_reference_kernels(judge, night):
    """A machine that is slower tonight, in the kernel as in the trials, has lost nothing; trials alone have."""
    assert judge(night("slow", seconds=1.4, kernel=0.07)).returncode == 0
    assert judge(night("slower", seconds=1.4)).returncode == 1


def test_a_machine_that_is_busy_for_half_of_the_night_is_not_a_loss(judge, night):
    """Each trial is read in the kernels beside it, not in those of the whole night."""
    done = judge(night("busy", slow_half=1.8))

    assert done.returncode == 0, done.stdout
    content = json.loads((night.folder("busy") / "night.json").read_text())
    [duration] = [one for one in content["findings"] if one["cost"] == "wall_seconds" and not one["error"]]
    assert duration["gain"]["value"] == pytest.approx(1.0, abs=0.02)


def test_the_unit_of_time_is_as_sure_as_the_kernel_is_steady():
    """A steady kernel is exact; two nights whose kernel varies by 10% among eight stretches leave 5% of doubt."""
    generator = np.random.default_rng(0)
    unsteady = [0.05 * np.exp(generator.normal(0, 0.1, 5000)) for _ in range(2)]

    assert kernel_uncertainty([0.05] * 9, [0.07] * 9) == pytest.approx(0.0, abs=1e-12)
    assert kernel_uncertainty(*unsteady) == pytest.approx(0.1 * math.sqrt(2 / 8), rel=0.05)


def test_much_else_on_the_machine_gives_no_number(judge, night):
    """Twice as slow by the kernel: nothing is said of seconds, even where the trials are four times as slow."""
    done = judge(night("crowded", seconds=4.0, kernel=0.1))

    assert done.returncode == 0, done.stdout
    assert "2 times as slow" in done.stdout


def test_a_night_without_the_kernel_beside_its_trials_says_nothing_of_seconds(judge, night):
    """No unit, no number."""
    done = judge(night("untimed", seconds=4.0, kernel_beside=()))

    assert done.returncode == 0, done.stdout
    assert "not timed beside the trials" in done.stdout


def test_joules_that_were_estimated_are_not_judged():
    """They follow from the processor's rating and the time: judging them would judge time twice."""
    kernel = Kernel(seconds=0.2, spread=1.0, joules=3.0, energy_source="estimated")
    night = conditions(kernel=(kernel,), kernel_step_seconds=0.002)

    assert not_comparable(night, night, [1.0], [1.0]) == {
        "energy_joules": "joules were estimated from the processor's rating and time, not measured"
    }
    metered = kernel.model_copy(update={"energy_source": "measured"})
    night = night.model_copy(update={"kernel": (metered,)})
    assert not_comparable(night, night, [1.0], [1.0]) == {}


def test_each_clock_is_read_in_its_own_unit():
    """A latency is a median of short calls, which wait for nothing: the load that slows a trial does not slow it."""
    runs = pd.DataFrame({"wall_seconds": [3.0], "inference_seconds": [4e-6], "kernel_seconds": [0.06]})
    quick, slow = (in_kernels(runs, conditions(kernel_step_seconds=step)) for step in (0.002, 0.004))

    assert list(quick["wall_seconds"]) == list(slow["wall_seconds"]) == [pytest.approx(50.0)]
    assert quick["inference_seconds"].item() == pytest.approx(2e-3)
    assert slow["inference_seconds"].item() == pytest.approx(1e-3)


def test_the_kernel_is_timed_while_something_else_runs():
    """Real rounds in a process of its own, stamped with the time they were taken at."""
    began = time.time()
    with kernel_beside() as samples:
        time.sleep(6)

    assert len(samples) >= 2
    assert all(began < one.at < time.time() and 0 < 15 * one.step_seconds <= one.seconds for one in samples)


def test_what_changed_is_named(judge, night):
    """A library's version, and labels that training sees."""
    done = judge(night("newer", gain=0.8, versions={"torch": "3.0"}))

    assert "torch is 3.0, it was 2.0" in done.stdout


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "there is no baseline"),
        (lambda path: path.write_text("{"), "damaged"),
        (lambda path: path.write_text(path.read_text().replace('"version": 1', '"version": 0')), "version 0"),
        (lambda path: path.write_text(path.read_text().replace('"sweep"', '"swoop"')), "damaged: "),
        (lambda path: path.write_text(path.read_text().replace('"guarded"', '"other"')), "sweep 'guarded'"),
    ],
)
def test_a_baseline_that_cannot_be_read_is_no_failure_of_the_code(judge, night, tmp_path, damage, said):
    """Exit code 2 and one sentence; nothing is written."""
    results = night("tonight", gain=0.5)
    damage(tmp_path / "kept.json")

    done = judge(results)

    assert done.returncode == 2
    assert said in done.stderr
    assert not (results / "night").exists()


def damaged(path, **values):
    """Change every trial of a baseline by hand; a field that becomes ``...`` is left out."""
    content = json.loads(path.read_text())
    for trial in content["trials"]:
        trial.update(values)
        for name in [name for name, value in values.items() if value is ...]:
            del trial[name]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"status": ...}, "damaged: trials.0.status is missing"),
        ({"seed": ...}, "damaged: trials.0.seed is missing"),
        ({"test_loss": "low"}, "damaged: trials.0.test_loss is "),
        ({"test_loss": -1.0}, "damaged: trials.0.test_loss is "),
        ({"train_flops": 0.0}, "damaged: trials.0.train_flops is "),
        ({"wall_seconds": 0.0}, "damaged: trials.0.wall_seconds is "),
        ({"kernel_seconds": -1.0}, "damaged: trials.0.kernel_seconds is "),
        ({"n_tests": 3}, "damaged: trials.0.n_tests is "),
        ({"test_loss": ..., "test_error": ...}, "nothing can be said of the training compute of 'baseline'"),
        ({"train_flops": ...}, "nothing can be said of the training compute of 'baseline'"),
    ],
)
def test_a_baseline_with_a_damaged_trial_is_neither_a_loss_nor_a_pass(judge, night, tmp_path, values, said):
    """Exit code 2 and where; a night that is twice as dear does not pass over it."""
    results = night("tonight", gain=0.5)
    damaged(tmp_path / "kept.json", **values)

    done = judge(results)

    assert done.returncode == 2
    assert said in done.stderr
    assert not (results / "night").exists()


def test_an_older_baseline_without_a_kernel_judges_all_but_the_clocks(judge, night, tmp_path):
    """What it does not know is not known, and the rest stands."""
    damaged(tmp_path / "kept.json", kernel_seconds=...)

    assert judge(night("again", seconds=10.0)).returncode == 0
    assert judge(night("worse", gain=0.8)).returncode == 1


def test_no_verdict_leaves_the_verdict_before_as_it_was(judge, night, tmp_path):
    """A night that was judged and cannot be judged again keeps its files."""
    results = night("tonight")
    assert judge(results).returncode == 0
    before = {path.name: path.read_bytes() for path in (results / "night").iterdir()}
    (tmp_path / "kept.json").write_text("{")

    assert judge(results).returncode == 2
    assert {path.name: path.read_bytes() for path in (results / "night").iterdir()} == before


def test_a_fault_of_the_program_is_no_loss(monkeypatch, tmp_path, capsys):
    """Its traceback is printed, and the exit code is not the one of a verdict."""
    import experiments.nightly
    from experiments.cli import main

    monkeypatch.delenv("NINTHPOWER_DEBUG", raising=False)
    monkeypatch.setattr(experiments.nightly, "judge", lambda *_, **__: {}["nothing"])
    monkeypatch.setattr("experiments.baseline.read_baseline", lambda _: Path)
    monkeypatch.setattr(Path, "sweep", "guarded", raising=False)
    monkeypatch.setattr("sys.argv", ["ninthpower", "nightly", "--results", str(tmp_path), "--nights", str(tmp_path)])

    with pytest.raises(SystemExit) as ending:
        main()

    assert ending.value.code == 2
    assert "KeyError: 'nothing'" in capsys.readouterr().err


def test_a_night_whose_trials_all_diverged_fails_and_is_written(judge, night):
    """Exit code 1, with every trial named, though there is no number to draw."""
    results = night("nan")
    for path in (results / TRIALS_FOLDER).glob("*.json"):
        record = json.loads(path.read_text())
        write_record(path.parent, {**record, "status": "diverged", "row": {**record["row"], "status": "diverged"}})

    done = judge(results)

    assert done.returncode == 1, done.stderr
    assert done.stdout.count("finished in the baseline and diverged tonight") == 18
    assert (results / "night" / "night.json").is_file()
    suite = ElementTree.parse(results / "night" / "junit.xml").getroot()
    assert suite.get("failures") == suite.get("tests") == "18"


def test_a_night_cut_short_is_no_verdict(judge, night, monkeypatch, tmp_path):
    """Exit code 2, which trials are missing; the step summary says so too."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))

    done = judge(night("short", n_trials=15))

    assert done.returncode == 2
    assert "cut short" in done.stderr
    assert "3 trials" in (tmp_path / "step.md").read_text()


def test_half_a_night_is_no_baseline(ninthpower, judge, night, tmp_path):
    """The baseline that is there stays as it is."""
    before = (tmp_path / "kept.json").read_bytes()

    done = ninthpower("baseline", night("short", n_trials=15), "--out", tmp_path / "kept.json")

    assert done.returncode == 2
    assert "15 finished trials of 18" in done.stderr
    assert (tmp_path / "kept.json").read_bytes() == before
    assert judge(night("again")).returncode == 0


def test_a_baseline_names_the_one_before(ninthpower, judge, night, tmp_path):
    """Whoever reviews it sees what it replaces."""
    assert judge is not None
    ninthpower("baseline", night("new"), "--out", tmp_path / "kept.json")

    assert read_baseline(tmp_path / "kept.json").replaces is not None


def test_a_slow_loss_over_many_nights_fails_the_last(judge, night, tmp_path):
    """Each night 0.4% dearer, within what is no difference; no single finding fails, their line does."""
    codes = [judge(night(f"night-{number}", gain=0.996**number)).returncode for number in range(1, 7)]

    assert codes[0] == 0
    assert codes[-1] == 1
    content = json.loads((tmp_path / "nights" / "night-6" / "guarded" / "night" / "night.json").read_text())
    assert all("Drift" in sentence for sentence in content["regressions"])
    assert len(read_history(tmp_path / "nights")) == 6


def test_a_night_judged_again_is_compared_with_those_before_it(judge, night, tmp_path):
    """Not with the nights that came after: its drift is that of its day."""
    results = [night(f"night-{number}", gain=0.996**number) for number in range(1, 7)]
    codes = [judge(one).returncode for one in results]

    again = judge(results[2])

    assert (codes[2], codes[-1], again.returncode) == (0, 1, 0)
    content = json.loads((tmp_path / "nights" / "night-3" / "guarded" / "night" / "night.json").read_text())
    assert content["drifts"]["baseline"]["n_recorded"] == 3


def test_the_first_night_says_that_there_is_no_history(judge, night):
    """It is judged by itself, and its drift is no pass in the JUnit file."""
    results = night("first")

    done = judge(results)

    assert done.returncode == 0
    assert "1 distinct night is too few for a line; 5 are needed" in done.stdout
    cases = ElementTree.parse(results / "night" / "junit.xml").getroot().findall("testcase")
    (drift,) = [case for case in cases if case.get("name") == "drift"]
    assert drift.find("skipped") is not None


def test_a_history_that_is_not_where_it_was_said_to_be_is_no_verdict(judge, night, tmp_path):
    """A folder that is not there, a server that is down: nothing is written."""
    results = night("tonight")
    for more in (["--nights", tmp_path / "nowhere"], ["--tracking-uri", "http://127.0.0.1:9"]):
        done = judge(results, *more)

        assert done.returncode == 2
        assert "nowhere" in done.stderr or "cannot be read" in done.stderr
        assert not (results / "night").exists()


def test_a_damaged_night_in_the_history_is_named(judge, night, tmp_path):
    """No verdict on a history that cannot be read."""
    path = tmp_path / "nights" / "old" / "guarded" / "night" / "night.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")

    done = judge(night("tonight"))

    assert done.returncode == 2
    assert "night.json is damaged" in done.stderr


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_keeps_the_nights(tmp_path):
    """One run per night, read back in order; a night judged again is one run."""
    from cluster.night_log import log_night, read_nights

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert read_nights(uri, "guarded-nights") == []
    for name, gain in (("b", 0.99), ("a", 1.0), ("b", 0.98)):
        params = {"ended_at": f"2026-01-01 {name}"}
        problem = log_night(uri, "guarded-nights", name, params=params, metrics={"gain/baseline": gain, "none": None})
        assert problem == ""

    nights = read_nights(uri, "guarded-nights")

    assert [params["night"] for params, _ in nights] == ["a", "b"]
    assert nights[1][1] == {"gain/baseline": 0.98}


def test_a_baseline_keeps_all_that_a_night_is_judged_by():
    """Results, strict costs and clocks are fields of a kept trial."""
    from experiments.baseline import KeptTrial
    from scaling.guard import PAIR_KEYS
    from scaling.guard.night import CLOCK_COSTS, RESULTS, STRICT_COSTS

    assert {*PAIR_KEYS, *RESULTS, *STRICT_COSTS, *CLOCK_COSTS} <= set(KeptTrial.model_fields)


def test_the_published_schema_is_that_of_the_baseline(judge, tmp_path):
    """Whoever reads a baseline with another program can check it; the file that is written passes."""
    import jsonschema

    published = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "baseline-1.json").read_text())
    assert judge is not None

    assert published == Baseline.model_json_schema()
    for path in (tmp_path / "kept.json", SHIPPED_BASELINE):
        jsonschema.validate(json.loads(path.read_text()), published)
    assert len(read_baseline(SHIPPED_BASELINE).trials) == 144
