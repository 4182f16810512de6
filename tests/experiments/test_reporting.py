"""What the report says beside its numbers: which law leads, how to run it again, where the runs are."""

import json
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest
import yaml

from cluster.delivery_log import Delivery, DeliveryLog
from experiments.background import background_of, training_curves
from experiments.findings import headline
from experiments.fitting import fit_runs
from experiments.mlflow_view import VIEW_TAG
from experiments.provenance import method, provenance_of, sweep_id
from experiments.report_comparison import comparison_parts
from experiments.reporting import techniques_view
from experiments.run_links import experiment_links, run_links
from experiments.sweep import FitSpec, parse_sweep
from scaling import backtest, bootstrap
from scaling.report import ReportFigure, ReportTable, ReportText

SWEEP = {
    "name": "small", "dataset": "digits", "family": "mlp",
    "grid": {"width": [4, 8], "depth": [1], "n_train": [32, 64], "seed": [0, 1]}, "training": {"epochs": 2},
}  # fmt: skip


def table(n_seeds=3, techniques=("baseline", "prune")):
    """Runs of two techniques along power laws."""
    generator = np.random.default_rng(2)
    rows = [
        {"trial_id": f"{technique}-{number}-{seed}", "cell": f"{technique}-{number}", "technique": technique,
         "seed": seed, "status": "finished", "width": number + 1, "train_flops": 10.0 ** (7 + number / 2),
         "energy_source": "unknown",
         "test_error": 0.5 * 10 ** (-number / 8) * np.exp(0.02 * generator.normal()) * (1 - 0.1 * place)}
        for place, technique in enumerate(techniques) for number in range(10) for seed in range(n_seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def records(sweep):
    """Records of a sweep's trials as far as a report reads them."""
    return [
        {"trial_id": trial.trial_id, "spec": trial.model_dump(mode="json"), "row": {"device": "a processor"},
         "environment": {"versions": {"python": "3.11"}, "git_commit": "abc", "host": "here", "threads": 1},
         "started_at": f"2026-01-0{number + 1}", "ended_at": "2026-02-01",
         "curve": [{"train_flops": 10.0 * step, "validation_error": 1 / step, "epoch": step} for step in (1, 2)]}
        for number, trial in enumerate(sweep.trials())
    ]  # fmt: skip


def test_refitting_the_same_table_gives_the_same_bytes(tmp_path):
    """Fits, report and every figure."""
    table().to_csv(tmp_path / "runs.csv", index=False)
    for folder in ("first", "second"):
        fit_runs(tmp_path / "runs.csv", out=tmp_path / folder)

    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) > 10
    for name in files:
        if name.suffix != ".parquet":
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_the_law_that_predicts_best_leads_and_the_rest_follows():
    """Three sentences at most, none lost, none twice."""
    runs = table(techniques=("baseline",))
    laws = ["saturating", "power"]
    fits = [bootstrap(runs, law=law, frontier=True, n_resamples=100) for law in laws]
    tested = backtest(runs, laws, frontier=True, n_resamples=0)
    sentences = ["saturating says", "power says", "the backtest", "seen in", "left out"]
    lead, rest = headline(sentences, fits, tested)

    assert len(lead) == 3
    assert sorted([*lead, *rest]) == sorted(sentences)
    quoted = [one.fit.law for one in fits if one.exponent is not None]
    best = next(law for law in tested.scores["law"] if law in quoted)
    assert lead == (f"{best} says", "the backtest", "seen in")


def test_the_sweep_file_on_the_page_is_the_sweep():
    """Read again, it asks for the same trials."""
    sweep = parse_sweep(SWEEP)
    entries = provenance_of(sweep, records(sweep))

    assert parse_sweep(yaml.safe_load(entries["small.yaml"])) == sweep
    assert entries["commit"] == "abc"
    assert entries["measured"] == "2026-01-01 to 2026-02-01"


def test_every_option_that_all_trials_share_is_listed_and_no_other():
    """Those that vary are columns of the table."""
    sweep = parse_sweep(SWEEP)
    shared = dict(
        line.split(": ", 1) for line in provenance_of(sweep, records(sweep))["options of every trial"].splitlines()
    )

    assert (json.loads(shared["epochs"]), json.loads(shared["optimizer"])) == (2.0, "adamw")
    assert not {"width", "n_train", "seed"} & set(shared)


def test_a_sweep_is_known_by_its_trials_not_by_its_name():
    """Another name is the same sweep, another width is not."""
    same = parse_sweep({**SWEEP, "name": "other", "description": "words"})
    other = parse_sweep({**SWEEP, "grid": {**SWEEP["grid"], "width": [4, 16]}})

    assert sweep_id(parse_sweep(SWEEP)) == sweep_id(same) != sweep_id(other)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5000/#/runs/run-1"),
        ("https://ml.example/", "https://ml.example/#/runs/run-1"),
        ("https://ada:hunter2@ml.example", "https://ml.example/#/runs/run-1"),
    ],
)
def test_trials_that_were_delivered_have_a_link(tmp_path, uri, address):
    """To the server they were delivered to, without a password, or to `ninthpower ui`; the others have none."""
    DeliveryLog(tmp_path, uri, "ninthpower/small").add("a", Delivery("digest", "run-1"))

    assert run_links(tmp_path, ["a", "b"], uri=uri, experiment="ninthpower/small") == {"a": address}
    assert run_links(tmp_path, ["a"], uri=uri, experiment="another") == {}


def test_experiments_of_a_store_are_linked_where_they_are_served(tmp_path):
    """Ours, not MLflow's own nor those that were deleted."""
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("create table experiments (experiment_id integer, name text, lifecycle_stage text)")
        connection.execute("create table experiment_tags (key text, value text, experiment_id integer)")
        rows = [
            (0, "Default", "active"), (3, "ninthpower/digits", "active"), (4, "old", "deleted"), (5, "mine", "active")
        ]  # fmt: skip
        connection.executemany("insert into experiments values (?, ?, ?)", rows)
        connection.execute("insert into experiment_tags values (?, '{}', 3)", [VIEW_TAG])
        connection.commit()

    assert experiment_links(tmp_path / "mlflow.db", 5001) == {
        "ninthpower/digits": "http://127.0.0.1:5001/#/experiments/3/runs?workflowType=machine_learning"
        "&compareRunsMode=CHART&viewStateShareKey=techniques",
        "mine": "http://127.0.0.1:5001/#/experiments/5/runs?workflowType=machine_learning",
    }


def test_curves_are_gathered_from_the_records_that_kept_them():
    """A row for each measurement."""
    kept = records(parse_sweep(SWEEP))
    kept[0].pop("curve")
    curves = training_curves(kept)

    assert len(curves) == 2 * (len(kept) - 1)
    assert set(curves["validation_error"]) == {1.0, 0.5}


def test_a_table_of_elsewhere_is_known_by_its_content(tmp_path):
    """The same rows in a copied file give the same report."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        table().to_csv(tmp_path / name / "runs.csv", index=False)
    first, second = (background_of(tmp_path / name / "runs.csv", None, [], title="t", tracking_uri="") for name in "ab")

    assert dict(first.provenance) == dict(second.provenance)
    assert not first.ours


def test_unknown_energy_is_counted_in_words():
    """Not passed over."""
    runs = table().assign(energy_source=["unknown"] * 20 + ["estimated"] * 40)

    assert "Energy of 60 trials: 40 estimated, 20 unknown." in method(runs, FitSpec(), ours=True)
    assert "taken on trust" in method(runs, FitSpec(), ours=False)[0]


def test_techniques_are_listed_with_how_their_trials_ended():
    """And with their best cell's error; a technique none of whose trials finished has none."""
    runs = table()
    runs.loc[runs["technique"] == "prune", ["status", "test_error"]] = ["failed", np.nan]
    view = techniques_view(runs, FitSpec()).set_index("technique")

    assert view.loc["baseline", "test_error"] == pytest.approx(
        runs[runs["technique"] == "baseline"].groupby("cell")["test_error"].mean().min()
    )
    assert (view.loc["prune", "failed"], view.loc["prune", "finished"]) == (30, 0)
    assert np.isnan(view.loc["prune", "test_error"])


def test_a_comparison_of_these_runs_is_shown_and_one_of_others_is_not(tmp_path):
    """Where there is none, or an old one, the page says what to type."""
    from experiments.comparing import compare_runs

    runs = table()
    parts, said = comparison_parts(tmp_path / "out", runs)
    assert (parts, "run ninthpower compare" in said) == ((), True)
    assert comparison_parts(tmp_path / "out", runs[runs["technique"] == "baseline"]) == ((), "")

    runs.to_csv(tmp_path / "runs.csv", index=False)
    found = compare_runs([tmp_path / "runs.csv"], out=tmp_path / "out" / "comparison", track=False).comparison
    parts, said = comparison_parts(tmp_path / "out", runs)
    assert said == ""
    assert {ReportText, ReportFigure, ReportTable} == {type(part) for part in parts}
    words = next(part for part in parts if isinstance(part, ReportText))
    assert words.sentences == found.sentences

    parts, said = comparison_parts(tmp_path / "out", runs.iloc[:-1])
    assert (parts, "of other runs" in said) == ((), True)
