"""What MLflow is told of a trial: the runs table's names, with sections for what is not in that table.

Importing this module does not import MLflow.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cluster.records import Record

# MLflow's charts have linear axes only; these are the quantities that span decades.
LOG10_TWINS = (
    "train_flops", "inference_flops", "inference_seconds", "n_params", "n_train", "energy_joules", "test_error",
    "shift_error", "validation_error",
)  # fmt: skip
# The tag in which MLflow's UI keeps the colour of a run in its charts.
COLOUR_TAG = "mlflow.runColor"
TAG_COLUMNS = ("sweep", "technique", "family", "dataset", "trial_id", "status", "cell")
MLFLOW_STATUS = {"finished": "FINISHED", "diverged": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# MLflow refuses longer values; only a reason or an option that holds a text comes near them.
LONGEST_PARAM = 5000
LONGEST_TAG = 4000
# The tag that says which columns the line of the runs table has, and of what type, so that it can be read back
# exactly: MLflow's metrics are floats, its params texts.
COLUMNS_TAG = "columns"


@dataclass(frozen=True)
class MetricPoint:
    """One number at one step of a run."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class RunValues:
    """One MLflow run, ready to be written in one batch."""

    name: str
    status: str
    start_milliseconds: int
    end_milliseconds: int
    params: Mapping[str, str]
    metrics: tuple[MetricPoint, ...]
    tags: Mapping[str, str]


def run_values(record: Record, colours: Mapping[str, str] | None = None) -> RunValues:
    """Translate a record.

    Numbers of the row are metrics under their own names, so that they can be filtered and drawn; texts of
    the row and all settings of the spec are params, so that runs can be grouped. ``log10/``, ``phase/``
    and ``curve/`` hold what the runs table has not. NaN, infinity and unknown values are left out.
    `colours` gives the run the colour of its technique in MLflow's charts.
    """
    row, spec = record.get("row", {}), record.get("spec", {})
    texts = {name: value for name, value in row.items() if not _is_number(value) and value not in (None, "")}
    params = {**_flat(spec), **texts}
    known = {**spec, **row, "trial_id": record["trial_id"], "status": record["status"]}
    known.setdefault("sweep", record.get("sweep"))
    tags = {name: str(known[name]) for name in TAG_COLUMNS if known.get(name) not in (None, "")}
    colour = (colours or {}).get(tags.get("technique", ""))
    drawn_in = {COLOUR_TAG: colour} if colour else {}
    environment = {f"environment.{name}": str(value) for name, value in _flat(record.get("environment", {})).items()}
    return RunValues(
        name=_run_name(known),
        status=MLFLOW_STATUS.get(record["status"], "FAILED"),
        start_milliseconds=_milliseconds(record["started_at"]),
        end_milliseconds=_milliseconds(record["ended_at"]),
        params={safe_name(name): str(value)[:LONGEST_PARAM] for name, value in params.items() if value is not None},
        metrics=tuple(_metrics(record)),
        tags={
            safe_name(name): value[:LONGEST_TAG]
            for name, value in {**environment, **tags, "kind": "trial", "record": digest(record)}.items()
        }
        | _columns_tag(row)
        | drawn_in,
    )


def _columns_tag(row: Mapping[str, Any]) -> dict[str, str]:
    """Name and type of each known value of a row, in its order; nothing where there are too many for a tag."""
    text = json.dumps({name: type(value).__name__ for name, value in row.items() if value is not None})
    return {COLUMNS_TAG: text} if len(text) <= LONGEST_TAG else {}


def digest(record: Record) -> str:
    """Hash of a record's content: tells a trial's second record from its first."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_finite(value: Any) -> bool:
    """Say whether a value is a number that MLflow may be given."""
    return _is_number(value) and math.isfinite(value)


def safe_name(name: str) -> str:
    """Replace what MLflow refuses in a name; the runs table's own names hold nothing of it."""
    return re.sub(r"[^\w\-./ ]", "-", name)[:250]


def _metrics(record: Record) -> Iterator[MetricPoint]:
    row = record.get("row", {})
    for name, value in row.items():
        if is_finite(value):
            yield MetricPoint(safe_name(name), float(value))
            if name in LOG10_TWINS and value > 0:
                yield MetricPoint(f"log10/{name}", math.log10(value))
    for phase in record.get("phases", []):
        for name, value in phase.items():
            if is_finite(value):
                yield MetricPoint(safe_name(f"phase/{phase['phase']}/{name}"), float(value))
    for point in record.get("curve", []):
        for name, value in point.items():
            if name != "step" and is_finite(value):
                yield MetricPoint(safe_name(f"curve/{name}"), float(value), int(point["step"]))


def _run_name(known: Mapping[str, Any]) -> str:
    sizes = [
        f"{letter}{known[name]}" for letter, name in (("w", "width"), ("d", "depth"), ("n", "n_train")) if name in known
    ]
    parts = [str(known[name]) for name in ("technique", "family") if known.get(name)]
    return "-".join([*parts, *sizes, *([f"s{known['seed']}"] if "seed" in known else [])]) or str(known["trial_id"])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _milliseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)
