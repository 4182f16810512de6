"""What is known of some runs beside their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from cluster.records import Record
from experiments.provenance import provenance_of, table_provenance
from experiments.run_links import run_links
from experiments.sweep import SweepSpec
from experiments.tracked_results import tracked_curves, tracked_links
from scaling.report import ReportFigure, ReportTable, ReportText
from scaling.tracked import RunsSource, TrackedRuns

CURVE_COLUMNS = ("train_flops", "validation_error")
# Parts of the page that another study of the same runs brings.
Parts = Sequence[ReportText | ReportFigure | ReportTable]


@dataclass(frozen=True)
class Background:
    """What is known of the runs beside their table.

    Attributes:
        title: Heading of the page.
        provenance: What is needed to run them again.
        curves: Error along the training of each trial: ``trial_id``, ``train_flops``, ``validation_error``.
        links: Address of each trial's run in MLflow.
        ours: Whether this program ran the trials.
        comparison: Parts of the page that compare techniques; `not_compared` says why there are none.
    """

    title: str
    provenance: Mapping[str, str] = field(default_factory=dict)
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    links: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    comparison: Parts = ()
    not_compared: str = ""


def background_of(
    path: RunsSource, sweep: SweepSpec | None, records: Sequence[Record], *, title: str, tracking_uri: str
) -> Background:
    """Gather it from a results folder, or from the little that a table of elsewhere says.

    Args:
        path: Results folder, file of the runs table, or experiment in MLflow.
        sweep, records: As `experiments.results.read_results` returns them.
        title: Heading of the page.
        tracking_uri: Where the sweep's runs are delivered to.
    """
    if isinstance(path, TrackedRuns):
        return _tracked_background(path, sweep, records, title)
    if sweep is None:
        return Background(title, table_provenance(path))
    ids = [str(record["trial_id"]) for record in records]
    links = run_links(path.absolute(), ids, uri=tracking_uri, experiment=sweep.experiment)
    return Background(title, provenance_of(sweep, records), training_curves(records), links, ours=True)


def _tracked_background(
    place: TrackedRuns, sweep: SweepSpec | None, records: Sequence[Record], title: str
) -> Background:
    provenance = provenance_of(sweep, records) if sweep else {"command": f"ninthpower fit {place}"}
    curves = training_curves(tracked_curves(place, records, CURVE_COLUMNS))
    return Background(title, provenance, curves, tracked_links(place, records), ours=sweep is not None)


def training_curves(records: Sequence[Record]) -> pd.DataFrame:
    """One row per measurement during training, of the trials that kept them."""
    rows = [
        {"trial_id": record["trial_id"], **{name: point[name] for name in CURVE_COLUMNS}}
        for record in records
        for point in record.get("curve", ())
        if all(point.get(name) is not None for name in CURVE_COLUMNS)
    ]
    return pd.DataFrame(rows, columns=["trial_id", *CURVE_COLUMNS])
