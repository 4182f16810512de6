"""`ninthpower compare`: tables, files, figures and MLflow runs of a comparison, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from experiments.comparing import compare_runs, read_all, read_spread
from scaling.compare import Arms, Setting, draw_arms

SMALL = {"widths": (8, 32, 128), "depths": (2,), "n_trains": (100, 1600, 6400, 25600)}
QUICK = Setting(n_resamples=60)


@pytest.fixture
def table(tmp_path):
    """A table of a technique with gain 3."""
    path = tmp_path / "mine.csv"
    draw_arms(Arms(gain=3.0, **SMALL), technique="pruning", seed=1).to_csv(path, index=False)
    return path


def test_a_table_is_compared_from_the_command_line(ninthpower, table, tmp_path):
    """The gain with its interval is printed, and the files are where it says."""
    done = ninthpower("compare", table, "--cost", "train_flops", "--resamples", "100", "--out", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert "pruning shifts the frontier of training compute by" in done.stdout
    for name in ("comparison.json", "comparison.csv", "budgets.csv", "break_even.csv"):
        assert (tmp_path / "out" / name).exists()
    for name in ("gains", "lifetime_cost"):
        for suffix in (".png", ".svg", ".csv"):
            assert (tmp_path / "out" / "figures" / (name + suffix)).stat().st_size > 0


def test_the_gain_is_printed_at_the_budgets_that_were_asked_for(ninthpower, table, tmp_path):
    """Known to be 3 at any; also written, with what lies beyond the runs of the baseline."""
    arguments = ("--cost", "train_flops", "--no-break-even", "--resamples", "60", "--budget", "1e8", "--budget", "1e15")
    done = ninthpower("compare", table, *arguments, "--out", tmp_path / "out")
    written = pd.read_csv(tmp_path / "out" / "budgets.csv")

    assert "gain at the budgets asked for, 95% intervals" in done.stdout
    assert written["budget"].tolist() == pytest.approx([1e8, 1e15])
    assert written["gain"].iloc[0] == pytest.approx(3, rel=0.3)
    assert written["decades_beyond"].iloc[0] == 0
    assert written["decades_beyond"].iloc[1] > 2


def test_json_is_what_the_file_holds(ninthpower, table, tmp_path):
    """The same numbers, nothing else on standard output; twice the same bytes."""
    arguments = ("compare", table, "--resamples", "60", "--uses", "1e6", "--no-break-even", "--out", tmp_path / "out")
    done = ninthpower(*arguments, "--json")
    content = json.loads(done.stdout)
    again = ninthpower(*arguments, "--json")

    assert done.stdout == again.stdout
    by_cost = {gain["cost"]: gain for gain in content["gains"]}
    assert set(by_cost) == {"train_flops", "inference_flops", "n_params", "lifetime"}
    assert by_cost["train_flops"]["gain"]["low"] < 3.0 < by_cost["train_flops"]["gain"]["high"] * 1.2
    frame = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("cost")
    assert frame.loc["train_flops", "gain"] == pytest.approx(by_cost["train_flops"]["gain"]["value"])


def test_several_tables_are_put_together(tmp_path):
    """A baseline in one file and a technique in another; the same trial twice is refused."""
    runs = draw_arms(Arms(gain=2.0, **SMALL), seed=1)
    paths = [tmp_path / "one.csv", tmp_path / "two.parquet"]
    runs[runs["technique"] == "baseline"].to_csv(paths[0], index=False)
    runs[runs["technique"] != "baseline"].to_parquet(paths[1], index=False)

    found = compare_runs(
        paths, costs=["train_flops"], setting=QUICK, out=tmp_path / "out", with_break_even=False
    ).comparison
    assert found.gain("technique").gain.value > 1.3
    with pytest.raises(ValueError, match=r"is in .*one.csv and in .*one.csv"):
        read_all([paths[0], paths[0]])


def test_data_sets_are_compared_one_at_a_time(ninthpower, tmp_path):
    """Two data sets share no frontier; --where chooses one."""
    runs = draw_arms(Arms(**SMALL), seed=1).assign(dataset="digits")
    other = draw_arms(Arms(**SMALL), seed=2).assign(dataset="mnist")
    other["trial_id"] += "-m"
    path = tmp_path / "both.csv"
    pd.concat([runs, other]).to_csv(path, index=False)
    arguments = ("compare", path, "--resamples", "60", "--no-break-even", "--cost", "train_flops")

    refused = ninthpower(*arguments)
    assert refused.returncode == 2
    assert "digits, mnist" in refused.stderr
    assert ninthpower(*arguments, "--where", "dataset=digits").returncode == 0


def test_trials_without_names_do_not_clash(tmp_path):
    """Row numbers of two files are not the same trials."""
    runs = draw_arms(Arms(**SMALL), seed=1).drop(columns="trial_id")
    paths = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for path, name in zip(paths, ("baseline", "technique"), strict=True):
        runs[runs["technique"] == name].to_csv(path, index=False)

    assert len(read_all(paths)[0]) == len(runs)


def test_techniques_are_rows_of_mlflow_and_gains_its_metrics(table, tmp_path):
    """One run per technique with its tags, written over and not beside when compared again; files as artifacts."""
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    arguments = {"costs": ["train_flops", "energy_joules"], "setting": QUICK, "out": tmp_path / "out"}
    for _ in range(2):
        found = compare_runs([table], tracking_uri=uri, artifact_folder=tmp_path / "artifacts", **arguments)
        assert found.problem == ""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("mine-comparison")
    (run,) = client.search_runs([experiment.experiment_id])
    gain = found.comparison.gain("pruning").gain

    assert run.data.tags["technique"] == "pruning"
    assert run.data.metrics["gain_train_flops"] == pytest.approx(gain.value)
    assert run.data.metrics["gain_train_flops_low"] == pytest.approx(gain.low)
    assert "exponent_difference_train_flops" in run.data.metrics
    assert run.data.params["bend_train_flops"] == found.comparison.gain("pruning").bending.name.lower()
    assert not any("energy" in name for name in run.data.metrics)
    assert run.data.params["verdict_energy_joules"] == "refused"
    assert "comparison.json" in {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--baseline", "plain"), "no technique 'plain' as baseline"),
        (("--technique", "prunin"), "did you mean 'pruning'"),
        (("--cost", "joules"), "no cost 'joules'"),
        (("--spread", "search"), "--spread is 'search'"),
        (("--leave-out", "teacher"), "no trial has a phase 'teacher'"),
        (("--where", "width"), "--where is 'width'"),
        (("--where", "color=red"), "no column 'color'"),
        (("--where", "width=7"), "no run has width '7'"),
        (("--error", "shift_error"), "no column 'shift_error'"),
        (("--level", "95"), "level is 95"),
        (("--law", "cubic"), "law is 'cubic'"),
    ],
)
def test_a_wrong_question_is_one_sentence(ninthpower, table, arguments, message):
    """Exit code 2, no traceback."""
    done = ninthpower("compare", table, *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_spread_reads_numbers():
    """A phase and by how many uses it is shared."""
    assert read_spread(["search=10", "teacher=2.5"]) == {"search": 10.0, "teacher": 2.5}


def test_a_phase_shared_on_the_command_line_is_charged_in_part_and_said(ninthpower, tmp_path):
    """Half of the training is a search: shared by ten, the gain is 1 / 0.55 times as high; left out, twice."""
    runs = draw_arms(Arms(gain=1.5, **SMALL), seed=1)
    of_technique = runs["technique"] == "technique"
    runs["train_flops_search"] = np.where(of_technique, runs["train_flops"] / 2, 0.0)
    runs["train_flops_train"] = runs["train_flops"] - runs["train_flops_search"]
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)
    gains, notes = [], []
    for charges in ((), ("--spread", "search=10"), ("--leave-out", "search")):
        arguments = ("--cost", "train_flops", "--no-break-even", "--resamples", "40", "--json")
        found = json.loads(ninthpower("compare", path, *arguments, *charges).stdout)
        gains.append(found["gains"][0]["gain"]["value"])
        notes.append(found["notes"])

    assert gains[1] / gains[0] == pytest.approx(1 / 0.55, rel=1e-3)
    assert gains[2] / gains[0] == pytest.approx(2, rel=1e-3)
    assert "Shared: search by 10 uses." in notes[1]
    assert "Not charged: search." in notes[2]
