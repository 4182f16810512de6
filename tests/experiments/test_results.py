"""From a runs table to fits, figures and report, through the functions behind the commands."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from experiments.fitting import fit_runs, select_runs


def table(*, noise=0.03, n_test=10_000, k=4.0):
    """Runs of a known law: error = 30 C^(-1/k) on the frontier, worse with too little data for the width."""
    generator = np.random.default_rng(1)
    rows = []
    for width in (4, 8, 16, 32):
        for n_train in (100, 300, 1000, 3000):
            for seed in range(3):
                flops = 1e3 * width**2 * n_train
                off = np.log(width**2 / n_train * 4) ** 2 * 0.04
                error = min(0.9, 30 * flops ** (-1 / k) * np.exp(off + noise * generator.normal()))
                rows.append(
                    {"width": width, "n_train": n_train, "seed": seed, "n_params": width**2 * 10, "n_test": n_test,
                     "train_flops": flops, "test_error": round(error * n_test) / n_test}
                )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def csv(tmp_path):
    """A stranger's csv of runs."""
    path = tmp_path / "runs-of-mine.csv"
    table().to_csv(path, index=False)
    return path


def test_a_strangers_csv_gives_every_file(csv, tmp_path):
    """Table, fits, figures with their numbers, and the report."""
    fit_runs(csv, out=tmp_path / "out")

    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    figures = {path.removeprefix("figures/").rsplit(".", 1)[0] for path in found if path.startswith("figures/")}
    assert {path for path in found if "/" not in path} == {"fits.json", "report.html", "runs.csv", "runs.parquet"}
    assert {"error_against_cost", "error_over_n_train_and_width", "error_along_n_train", "backtest"} <= figures
    assert {f"figures/{name}{suffix}" for name in figures for suffix in (".csv", ".png", ".svg")} <= found


def test_the_exponent_that_was_put_in_comes_out(csv, tmp_path):
    """Compute grows with the fourth power of performance, and the interval holds it."""
    fits = {one.fit.law: one for one in fit_runs(csv, out=tmp_path / "out").analysis.fits}

    power = fits["power"]
    assert power.fit.converged
    assert power.exponent.low < 4.0 < power.exponent.high
    assert power.fit.exponent == pytest.approx(4.0, rel=0.15)


def test_the_same_runs_give_the_same_bytes(csv, tmp_path):
    """Fits, figures and report, in whatever order the rows come."""
    fit_runs(csv, out=tmp_path / "first")
    table().sample(frac=1, random_state=3).to_csv(csv, index=False)
    fit_runs(csv, out=tmp_path / "second")

    for name in ("fits.json", "figures/error_against_cost.svg"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
        if name == "fits.json":
            first, second = (re.sub(rb'"row-\d+"', b'"row"', text) for text in (first, second))
        assert first == second, name


def test_the_numbers_on_the_page_are_those_of_the_file(csv, tmp_path):
    """The report's sentences quote fits.json."""
    fit_runs(csv, out=tmp_path / "out")
    fits = json.loads((tmp_path / "out" / "fits.json").read_text())["fits"]
    page = (tmp_path / "out" / "report.html").read_text()

    power = next(one["fit"] for one in fits if one["fit"]["law"] == "power")
    assert f"to the power {power['exponent']:.2f} [" in page


def test_the_report_needs_nothing_else(csv, tmp_path):
    """No script, style or picture from elsewhere."""
    fit_runs(csv, out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()

    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert len(page) < 5e6


def test_text_from_a_table_is_never_markup(tmp_path):
    """A name in a table of somebody else's is shown, not run."""
    runs = table()
    runs["technique"] = "<script>alert(1)</script>"
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)
    fit_runs(path, out=tmp_path / "out")

    assert "<script>" not in (tmp_path / "out" / "report.html").read_text()


def test_trials_without_an_error_are_in_the_table_and_said(tmp_path):
    """Diverged and failed trials have no error; none vanishes."""
    runs = table()
    runs["status"] = "finished"
    runs.loc[:1, "status"] = "diverged"
    runs.loc[:1, "test_error"] = np.nan
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)
    analysis = fit_runs(path, out=tmp_path / "out").analysis

    assert "46 finished, 2 diverged" in analysis.sentences[-1]
    assert "2 trials did not finish" in analysis.report.read_text()
    assert len(pd.read_csv(tmp_path / "out" / "runs.csv")) == 48


def test_errors_of_zero_are_drawn_and_counted(tmp_path):
    """A perfect score on a small test set stands at half an example, as a triangle."""
    runs = table(n_test=20, k=3.0)
    assert (runs["test_error"] == 0).any()
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)
    analysis = fit_runs(path, out=tmp_path / "out").analysis

    drawn = pd.read_csv(tmp_path / "out" / "figures" / "error_against_cost.csv")
    assert (drawn.loc[drawn["what"] == "trial", "test_error"] == 0).sum() == (runs["test_error"] == 0).sum()
    assert "without a single error" in analysis.report.read_text()


def test_too_few_runs_give_a_reason_instead_of_a_number(tmp_path):
    """Two budgets determine no law, and the report says so."""
    path = tmp_path / "runs.csv"
    table().iloc[[0, 1, 2, 45, 46, 47]].to_csv(path, index=False)
    analysis = fit_runs(path, out=tmp_path / "out").analysis

    assert not any(one.fit.converged for one in analysis.fits)
    assert "the exponent is not given" in analysis.sentences[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": "flops"}, "flops"),
        ({"error": "tset_error"}, "tset_error"),
        ({"laws": ["powr"]}, "powr"),
    ],
)
def test_what_is_not_there_is_named(csv, tmp_path, change, words):
    """Column and law by name, in one sentence."""
    with pytest.raises(ValueError, match=words):
        fit_runs(csv, out=tmp_path / "out", **change)


def test_runs_are_filtered_sorted_and_cut_to_columns(csv):
    """As the command `runs` shows them."""
    shown = select_runs(csv, status="finished", sort="test_error", columns=["width", "test_error"])

    assert list(shown.columns) == ["width", "test_error"]
    assert shown["test_error"].is_monotonic_increasing
    with pytest.raises(ValueError, match="status is 'done'"):
        select_runs(csv, status="done")
    with pytest.raises(ValueError, match="no column 'widht'"):
        select_runs(csv, sort="widht")


def test_a_sweep_in_which_nothing_finished_says_why(tmp_path):
    """The first trial's reason, instead of a missing column."""
    path = tmp_path / "runs.csv"
    path.write_text("width,status,reason\n8,failed,the data set vanished\n16,failed,the data set vanished\n")

    with pytest.raises(ValueError, match=r"of 2 trials none finished.*the data set vanished"):
        fit_runs(path, out=tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "runs.csv")) == 2


def test_an_interval_that_most_resamples_did_not_reach_is_not_given(tmp_path):
    """Three cells resample to too few distinct ones most of the time: no number, and the count in words."""
    path = tmp_path / "runs.csv"
    path.write_text("train_flops,test_error,cell\n1e8,0.5,a\n1e9,0.4,b\n1e10,0.31,c\n1e10,0.9,d\n")
    analysis = fit_runs(path, laws=["power"], out=tmp_path / "out").analysis

    assert analysis.fits[0].exponent is None
    assert "resamples" in analysis.sentences[0]
    assert "to the power" not in analysis.sentences[0]


def test_a_finished_run_without_an_error_is_said(tmp_path):
    """An empty cell is not a run that vanishes."""
    runs = table()
    runs.loc[3, "test_error"] = np.nan
    path = tmp_path / "runs.csv"
    runs.to_csv(path, index=False)

    assert "1 finished trial is not in the fit" in fit_runs(path, out=tmp_path / "out").analysis.sentences[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train_flops,test_error\n1e9,0.5,\n1e10,0.4,\n", "more cells than its header"),
        ("train_flops,test_error,test_error\n1e9,0.5,0.1\n", "twice"),
        ("train_flops;test_error\n1e9;0.5\n", "separated by commas"),
    ],
)
def test_a_csv_that_would_be_misread_is_refused(tmp_path, text, words):
    """Shifted columns are worse than none."""
    path = tmp_path / "runs.csv"
    path.write_text(text)

    with pytest.raises(ValueError, match=words):
        fit_runs(path, out=tmp_path / "out")
