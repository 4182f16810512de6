"""The report as a file: self-contained, the same bytes for the same runs, nothing in it that was not said."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from scaling import bootstrap, pareto_front
from scaling.figures import save_figure, style
from scaling.report import Report, ReportChart, ReportFigure, ReportTable, ReportText, write_report
from scaling.report.chart import chart_content


def runs(n_cells=10, seed=0):
    """Cells of three seeds along a power law of exponent 4."""
    generator = np.random.default_rng(seed)
    cost = np.repeat(np.geomspace(1e8, 1e12, n_cells), 3)
    return pd.DataFrame({
        "trial_id": [f"t{number:03d}" for number in range(cost.size)],
        "cell": np.repeat([f"c{number}" for number in range(n_cells)], 3),
        "seed": np.tile([0, 1, 2], n_cells), "status": "finished", "technique": "baseline", "n_test": 1000,
        "train_flops": cost, "n_params": np.round(cost**0.5), "width": np.repeat(np.arange(n_cells), 3),
        "test_error": 0.5 * (cost / 1e8) ** -0.25 * np.exp(generator.normal(0, 0.03, cost.size)),
    })  # fmt: skip


def data_of(path):
    """What the page's script reads."""
    return json.loads(re.search(r'id="chart-data">(.*?)</script>', path.read_text(), flags=re.DOTALL).group(1))


def test_letters_are_of_one_size_in_small_and_in_large_pictures(tmp_path):
    """A picture is blown up in proportion to its own width, and not beyond."""
    figures = []
    for inches in (3.6, 7.2):
        with rc_context(style()):
            figure = Figure(figsize=(inches, 3))
            figure.add_subplot().plot([1, 2])
        svg = save_figure(figure, pd.DataFrame({"a": [1]}), tmp_path, f"wide-{inches}")[1]
        figures.append(ReportFigure(str(inches), "", svg))
    page = write_report(Report("title", ["answer"], figures=figures), tmp_path / "report.html").read_text()
    small, large = map(int, re.findall(r'style="max-width: (\d+)px"', page))

    assert 2 * small == pytest.approx(large, abs=2)
    assert large >= 960


def test_the_parts_stand_in_their_order(tmp_path):
    """Answer, chart, comparison, figures, tables, method, what is not known, provenance."""
    with rc_context(style()):
        figure = Figure()
        figure.add_subplot().plot([1, 2])
        files = save_figure(figure, pd.DataFrame({"x": [1]}), tmp_path, "line")
    report = Report(
        "the title", ["the answer"], ["the rest"], ReportChart(runs()), [ReportText("compared", ["twice as good"])],
        [ReportFigure("a picture", "its caption", files[1])],
        [ReportTable("a table", "its words", pd.DataFrame({"a": [1.5]}))],
        ["how"], ["what not"], {"commit": "abc"},
    )  # fmt: skip
    page = write_report(report, tmp_path / "report.html").read_text()

    words = ["the title</h1>", "the answer", "the rest", "Every trial", "twice as good", "its caption", "its words",
             ">how<", "what not", "commit"]  # fmt: skip
    places = [page.index(word) for word in words]
    assert places == sorted(places)


def test_the_chart_holds_every_trial_that_has_an_error_once():
    """In order of cost, with its own values; those that did not finish are not drawn."""
    table = runs().sample(frac=1, random_state=1)
    table.loc[[3, 4], ["status", "test_error"]] = ["diverged", np.nan]
    trials = chart_content(ReportChart(table))["trials"]

    expected = table[table["status"] == "finished"].sort_values("train_flops").set_index("trial_id")
    assert sorted(trials["trial_id"]) == sorted(expected.index)
    assert trials["values"]["train_flops"] == sorted(trials["values"]["train_flops"])
    for name in ("test_error", "n_params"):
        assert trials["values"][name] == list(expected.loc[trials["trial_id"], name])


def test_cells_of_the_chart_are_those_of_the_frontier():
    """Trials of one cell share a number, others do not."""
    table = runs()
    trials = chart_content(ReportChart(table))["trials"]
    cells = dict(zip(trials["trial_id"], trials["cell"], strict=True))

    for row in pareto_front(table).itertuples():
        assert len({cells[name] for name in row.trial_ids}) == 1
    assert len(set(cells.values())) == table["cell"].nunique()


def test_what_is_unknown_is_null_and_no_axis():
    """A cost that no trial has cannot be chosen; one that some have can, with gaps."""
    table = runs().assign(energy_joules=np.nan, inference_flops=np.where(np.arange(30) < 15, 10.0, np.arange(30)))
    table.loc[29, "inference_flops"] = np.nan
    content = chart_content(ReportChart(table))

    assert "energy_joules" not in content["costs"]
    assert content["trials"]["values"]["inference_flops"].count(None) == 1


def test_links_are_given_to_the_trials_they_belong_to():
    """And none to the others."""
    trials = chart_content(ReportChart(runs(), links={"t005": "http://127.0.0.1:5000/#/runs/abc"}))["trials"]

    found = dict(zip(trials["trial_id"], trials["link"], strict=True))
    assert found.pop("t005") == "http://127.0.0.1:5000/#/runs/abc"
    assert set(found.values()) == {None}


def test_laws_carry_their_curve_band_and_numbers():
    """Those of the fit itself; a refused law only its reason."""
    table = runs()
    power = bootstrap(table, law="power", frontier=True, n_resamples=200)
    refused = bootstrap(table.iloc[:6], law="saturating", frontier=True, n_resamples=200)
    first, second = chart_content(ReportChart(table, [power, refused]))["laws"]

    assert first["y"] == pytest.approx(power.fit.predict(first["x"]))
    assert first["low"] == pytest.approx(power.band(first["x"])[0])
    assert (first["exponent"], first["exponent_low"]) == (power.fit.exponent, power.exponent.low)
    assert second["x"] == []
    assert second["exponent"] is None
    assert second["reason"] == refused.fit.reason


def test_names_from_a_table_cannot_end_the_data(tmp_path):
    """A technique called </script> is data like any other."""
    table = runs().assign(technique="</script><script>alert(1)</script>")
    path = write_report(Report("t", [], chart=ReportChart(table)), tmp_path / "report.html")

    assert data_of(path)["techniques"] == ["</script><script>alert(1)</script>"]
    assert "<script>alert" not in path.read_text()


def test_the_same_runs_in_another_order_give_the_same_bytes(tmp_path):
    """So that a report can be compared with itself."""
    first = write_report(Report("t", ["a"], chart=ReportChart(runs())), tmp_path / "first.html")
    mixed = runs().sample(frac=1, random_state=2)
    second = write_report(Report("t", ["a"], chart=ReportChart(mixed)), tmp_path / "second.html")

    assert second.read_bytes() == first.read_bytes()


def test_a_page_for_5000_trials_stays_below_5_megabytes(tmp_path):
    """Chart data and a folded table of all of them."""
    table = pd.concat([runs(1667, seed).assign(trial_id=lambda t, s=seed: t["trial_id"] + f"-{s}") for seed in (0,)])
    report = Report("t", ["a"], chart=ReportChart(table), tables=[ReportTable("Trials", "", table, folded=True)])
    path = write_report(report, tmp_path / "report.html")

    assert len(table) > 5000
    assert path.stat().st_size < 5e6
    assert "Show all 5001 rows" in path.read_text()


def test_nothing_to_say_leaves_no_empty_heading(tmp_path):
    """A report of an answer alone."""
    page = write_report(Report("t", ["only this"]), tmp_path / "report.html").read_text()

    assert "<h2>" not in page
    assert "only this" in page
