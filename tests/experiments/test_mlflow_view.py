"""The view that MLflow opens on: valid for every sweep, with the names that the runs have there."""

import json

import pytest

from cluster.mlflow_values import COLOUR_TAG, LOG10_TWINS, run_values
from experiments.mlflow_view import METRICS, ready_view, technique_colours
from scaling.columns import column

RECORD = {
    "trial_id": "a", "status": "finished", "started_at": "2026-01-02T03:04:05+00:00",
    "ended_at": "2026-01-02T03:04:15+00:00", "row": {"technique": "distillation", "test_error": 0.1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "drawn"), [("test_error", "test_error"), ("shift_error", "shift_error"), ("test_loss", "test_error")]
)
def test_every_axis_of_the_charts_is_a_metric_that_runs_have(asked, drawn):
    """The error that the sweep is about, if it has a twin in powers of ten, against costs that have one."""
    view = json.loads(ready_view(asked))

    axes = {chart[axis]["key"] for chart in view["compareRunCharts"] for axis in ("xaxis", "yaxis")}
    assert axes <= {f"log10/{name}" for name in LOG10_TWINS}
    assert {chart["yaxis"]["key"] for chart in view["compareRunCharts"]} == {f"log10/{drawn}"}
    assert len({chart["uuid"] for chart in view["compareRunCharts"]}) == len(view["compareRunCharts"])
    assert all(column(name).name == name for name in METRICS)
    assert len(ready_view(asked)) < 5000  # MLflow's longest tag of an experiment


def test_a_technique_has_a_colour_and_the_baseline_is_black():
    """The same whatever the order of the trials; twelve techniques are told apart beside it."""
    names = ["transfer", "baseline", "distillation", *(f"other-{place}" for place in range(10))]
    colours = technique_colours(names)

    assert colours == technique_colours(reversed(names))
    assert colours["baseline"] == "#000000"
    assert len(set(colours.values())) == len(names)


def test_a_run_is_drawn_in_the_colour_of_its_technique():
    """Without a colour for it, in MLflow's own."""
    assert run_values(RECORD, {"distillation": "#123456"}).tags[COLOUR_TAG] == "#123456"
    assert COLOUR_TAG not in run_values(RECORD, {"transfer": "#123456"}).tags
    assert COLOUR_TAG not in run_values(RECORD).tags
