"""What the report says beside its numbers: which law leads, how to run it again, where the runs are."""

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from cluster.delivery_log import Delivery, DeliveryLog
from experiments.background import background_of, training_curves
from experiments.findings import answer, headline
from experiments.fitting import fit_runs
from experiments.mlflow_view import VIEW_TAG
from experiments.printing import print_frame
from experiments.provenance import method, provenance_of, sweep_id
from experiments.report_comparison import comparison_parts
from experiments.reporting import techniques_view, zeros_sentence
from experiments.run_links import experiment_links, run_links
from experiments.sweep import FitSpec, parse_sweep
from scaling import FitStatus, backtest, bootstrap, pareto_front
from scaling.figures.style import drawable
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


def test_where_the_law_that_predicted_best_is_refused_one_sentence_says_so():
    """And gives how far off the law is that is quoted: nothing is called best here and not given there."""
    runs = table(techniques=("baseline",))
    fits = [bootstrap(runs, law=law, frontier=True, n_resamples=100) for law in ("power", "saturating")]
    refused = replace(fits[1], exponent=None, fit=replace(fits[1].fit, status=FitStatus.NOT_IDENTIFIED, exponent=None))
    tested = backtest(runs, ["power", "saturating"], frontier=True, n_resamples=0)
    scores = tested.scores.assign(score=tested.scores["law"].map({"power": 0.08, "saturating": 0.03}))
    tested = replace(tested, best="saturating", scores=scores.sort_values("score", ignore_index=True))
    front = pareto_front(runs)

    sentences = answer(runs, front, [fits[0], refused], tested, FitSpec())
    lead, rest = headline(sentences, [fits[0], refused], tested)

    assert lead[0].startswith(
        "Fitted to the cheaper runs only, the saturating law predicted the next dearer ones best (3.0% off in log "
        "error), but its exponent is not determined; the power law was 8.0% off: under it, training compute grows with "
    )
    assert lead[1].startswith("Seen in 30 trials")
    assert rest == (f"Under the saturating law the exponent is not given: {fits[1].fit.reason}.",)
    both = answer(runs, front, [refused], tested, FitSpec())
    assert both[1].endswith("predictions; but no law has an exponent to give.")


def test_notes_on_the_table_are_read_first(ninthpower, tmp_path):
    """In the terminal and near the head of the report: without seeds, repeats may mislead."""
    runs = table(techniques=("baseline",)).drop(columns=["cell", "width"])
    for seeds in (runs.drop(columns="seed"), runs.assign(seed=7)):
        seeds.to_csv(tmp_path / "runs.csv", index=False)
        done = ninthpower("fit", "runs.csv", "--out", "out")
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        said = "Note: 20 of 30 runs repeat the train_flops of another, and no seeds tell them apart"

        assert said in " ".join(done.stdout.split())
        assert said in page[: page.index('<div class="more">')]


def test_no_more_is_said_of_the_law_that_has_no_exponent_by_nature():
    """1/error along the logarithm of compute is no power; no resample failed."""
    runs = table(techniques=("baseline",))
    found = bootstrap(runs, law="exponential", frontier=True, n_resamples=100)

    first = answer(runs, pareto_front(runs), [found], None, FitSpec(laws=("exponential",)))[0]

    assert found.fit.converged
    assert first.startswith("Under the exponential law there is no exponent, for training compute grows with no power")


def test_zeros_stand_where_the_caption_says():
    """At half an example where the test set's size is known, at half the least other error where it is not."""
    runs = table(techniques=("baseline",)).assign(n_test=[100.0, np.nan] * 15)
    runs.loc[:2, "test_error"] = 0.0
    drawn = drawable(runs, "train_flops", "test_error").set_index("trial_id")["test_error"]
    words = zeros_sentence(runs, "test_error")

    assert drawn[runs["trial_id"][0]] == pytest.approx(0.005)
    assert drawn[runs["trial_id"][1]] == pytest.approx(runs["test_error"][3:].min() / 2)
    assert "2 trials without a single error: drawn as triangles at half an example." in words
    assert "1 trial without a single error: drawn as triangles at half the least other error" in words


def test_tables_break_no_id_and_no_number_at_eighty_columns():
    """What does not fit follows in another table that begins with the id again; sentences may be broken."""
    frame = pd.DataFrame({
        "trial_id": ["0123456789abcdef"], "technique": ["magnitude-pruning density=0.1"], "train_flops": [1.234e9],
        "training compute": ["0.712 [0, ∞] ?"], "inference compute per example": ["0.712 [0.233, 2.11] ?"],
        "reason": ["it was stopped, for the memory of the machine was full and no other trial could go on beside it"],
    })  # fmt: skip
    stream = io.StringIO()

    print_frame(frame, "runs", Console(file=stream, width=80, highlight=False))

    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if "0123456789abcdef" in line]) >= 2
    for whole in ("magnitude-pruning density=0.1", "1.234e+09", "0.712 [0, ∞] ?", "0.712 [0.233, 2.11] ?"):
        assert sum(whole in line for line in lines) == 1


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
