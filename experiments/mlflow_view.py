"""How the MLflow UI opens on a sweep: charts of the error against every cost, a colour for each technique, columns.

MLflow keeps a view that is shared in a tag of the experiment, and the colour of a run in a tag of the run. Neither form
is documented; they are those of MLflow 3, and a UI that does not know them shows its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from scaling.columns import label
from scaling.figures import PALETTE

BASELINE = "baseline"
# The address of a view names it so.
VIEW = "techniques"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
# The scatter charts, of the twins under log10/: MLflow's axes are linear. One of a cost that no run knows
# stays empty.
COSTS = ("train_flops", "energy_joules", "inference_flops", "inference_seconds", "n_params", "n_train")
# Columns of the list, as many as a window of 1,600 pixels shows; MLflow puts them into the order of their names.
PARAMS = ("technique", "width", "depth", "n_train")
METRICS = ("test_error", "train_flops", "inference_flops")
# Runs that a chart draws at most; MLflow's list brings a hundred at a time.
MOST_RUNS = 1000
# In MLflow's charts the colour alone tells techniques apart: beside the palette of the figures, whose yellow is too
# pale for a small point, colours of Tol's muted scheme.
COLOURS = (*PALETTE[1:7], "#332288", "#882255", "#999933", "#888888", "#661100", "#44AA99")
_SECTION = "ninthpower"


def technique_colours(techniques: Iterable[str]) -> dict[str, str]:
    """A colour for each technique: black for the baseline, the others in the order of their names."""
    others = sorted({*techniques} - {BASELINE})
    return {BASELINE: PALETTE[0], **{name: COLOURS[place % len(COLOURS)] for place, name in enumerate(others)}}


def ready_view(error: str) -> str:
    """The view as MLflow reads it: every run, its settings and numbers as columns, the error against every cost.

    Args:
        error: Error column of the charts; one without a twin under ``log10/`` gives way to the test error.
    """
    shown = error if error in ("test_error", "shift_error", "validation_error") else "test_error"
    content = {
        "selectedColumns": [*(f"params.`{name}`" for name in PARAMS), *(f"metrics.`{name}`" for name in METRICS)],
        "orderByKey": f"metrics.`{shown}`",
        "orderByAsc": True,
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        # Else MLflow puts the sections that it makes by itself into the order of their names, before ours.
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": _SECTION, "name": f"{label(shown)} against every cost, as powers of ten", "display": True,
             "isReordered": False, "deleted": False, "isGenerated": False}
        ],
        "compareRunCharts": [_scatter(cost, shown) for cost in COSTS],
    }  # fmt: skip
    return json.dumps(content)


def _scatter(cost: str, error: str) -> dict[str, Any]:
    return {
        "type": "SCATTER", "uuid": f"{_SECTION}-{cost}", "metricSectionId": _SECTION, "runsCountToCompare": MOST_RUNS,
        "deleted": False, "isGenerated": False,
        "xaxis": {"key": f"log10/{cost}", "type": "METRIC"}, "yaxis": {"key": f"log10/{error}", "type": "METRIC"},
    }  # fmt: skip
