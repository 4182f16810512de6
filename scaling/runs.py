"""The runs table: one row per trial, names with units, checked on reading.

It is the contract between whoever measures and whoever fits. A table written by a stranger
with the same column names fits just as well; columns that are not listed here pass through.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

Kind = Literal["text", "count", "fraction", "nonnegative", "positive"]

STATUSES = ("finished", "diverged", "failed", "stopped")
ENERGY_SOURCES = ("measured", "estimated", "unknown")
PHASE_PREFIX = "train_flops_"


@dataclass(frozen=True)
class Column:
    """What one column of the runs table holds."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    allowed: tuple[str, ...] = ()


COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "text", "", "hash of everything that changes the result"),
    Column("cell", "text", "", "hash of the same without the seed: the unit that is resampled"),
    Column("tuning_cell", "text", "", "hash without the learning rate either: cells that validation chooses from"),
    Column("sweep", "text", "", "the sweep that ran the trial"),
    Column("dataset", "text", "", "data set"),
    Column("family", "text", "", "model family"),
    Column("technique", "text", "", "efficiency technique, `baseline` for none"),
    Column("seed", "count", "", "seed of initialisation, subset and order"),
    Column("status", "text", "", "how the trial ended", STATUSES),
    Column("reason", "text", "", "why it ended so, empty when finished"),
    Column("width", "count", "", "width of the model"),
    Column("depth", "count", "", "depth of the model"),
    Column("n_params", "count", "", "trainable parameters, without those that the technique cut away"),
    Column("n_train", "count", "examples", "training examples"),
    Column("n_test", "count", "examples", "test examples"),
    Column("epochs", "positive", "", "passes over the training examples"),
    Column("learning_rate", "positive", "", "peak learning rate at the base width"),
    Column("test_error", "fraction", "", "share of test examples misclassified"),
    Column("test_loss", "nonnegative", "nat", "mean cross-entropy on test"),
    Column("validation_error", "fraction", "", "share of validation examples misclassified"),
    Column("validation_loss", "nonnegative", "nat", "mean cross-entropy on validation"),
    Column("shift_error", "fraction", "", "error on the shifted test set"),
    Column("train_flops", "nonnegative", "FLOP", "everything spent to get this model"),
    Column("inference_flops", "nonnegative", "FLOP", "one forward pass of one example"),
    Column("inference_seconds", "positive", "s", "measured, median over batches of inference_batch"),
    Column("inference_batch", "count", "examples", "batch size of inference_seconds"),
    Column("energy_joules", "nonnegative", "J", "energy of the trial; empty when unknown"),
    Column("energy_source", "text", "", "where the joules come from", ENERGY_SOURCES),
    Column("carbon_grams", "nonnegative", "g", "CO2-equivalent of the energy"),
    Column("carbon_intensity_g_per_kwh", "nonnegative", "g/kWh", "intensity of the grid"),
    Column("region", "text", "", "where the energy was drawn"),
    Column("wall_seconds", "nonnegative", "s", "duration of the trial"),
    Column("device", "text", "", "processor that did the arithmetic"),
    Column("peak_flops_per_second", "positive", "FLOP/s", "peak rate of the device share used"),
    Column("utilisation", "nonnegative", "", "train_flops over what the peak rate would have done"),
    Column("hardware_burden_flop", "nonnegative", "FLOP", "devices x peak rate x seconds"),
)
_BY_NAME = {column.name: column for column in COLUMNS}

# What people call the columns; the others read well with their underscores taken out.
_LABELS = {
    "train_flops": "training compute",
    "inference_flops": "inference compute per example",
    "shift_error": "error under shift",
    "energy_joules": "energy",
    "carbon_grams": "carbon (CO2-equivalent)",
    "wall_seconds": "duration",
    "inference_seconds": "latency per example",
    "n_params": "parameters",
    "n_train": "training examples",
    "hardware_burden_flop": "hardware burden",
}


def label(name: str) -> str:
    """What people call a column, in sentences and on axes, without its unit."""
    return _LABELS.get(name, name.replace("_", " "))


def column(name: str) -> Column:
    """Describe a column, the per-phase ``train_flops_<phase>`` ones included.

    Raises:
        ValueError: If the runs table knows no such column; the nearest name is given.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name.startswith(PHASE_PREFIX):
        phase = name.removeprefix(PHASE_PREFIX)
        return Column(name, "nonnegative", "FLOP", f"FLOP of the phase {phase}")
    raise ValueError(f"the runs table knows no column {name!r}{_did_you_mean(name, _BY_NAME)}")


def check_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with known columns in their types, or say which cell is wrong.

    Absent columns stay absent, except ``trial_id``, ``seed`` and ``status``, which are completed
    (row number, 0, finished): a fit needs them. Empty cells mean "not known" and stay empty. Units
    are taken on trust; only ranges are checked.

    Raises:
        ValueError: If the table is empty, a value lies outside its column's range (row and column
            are named), or a trial occurs twice.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a runs table is a pandas DataFrame, not {type(frame).__name__}")
    if frame.empty:
        raise ValueError("the runs table has no rows")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"the runs table has the column {twice[0]!r} twice; drop one")
    table = frame.reset_index(drop=True)
    completed = {
        "trial_id": [f"row-{number:06d}" for number in range(1, len(table) + 1)],
        "seed": 0,
        "status": "finished",
    }
    # Built at once: assigning columns one by one takes pandas longer than checking them.
    columns = {name: table[name] for name in table.columns}
    for name, values in completed.items():
        if name not in columns:
            columns[name] = pd.Series(values, index=table.index, name=name)
    for name, values in columns.items():
        if name in _BY_NAME or str(name).startswith(PHASE_PREFIX):
            columns[name] = _checked(values, column(str(name)))
    table = pd.DataFrame(columns, copy=False)
    repeated = table.loc[table["trial_id"].duplicated(), "trial_id"]
    if len(repeated):
        raise ValueError(f"row {repeated.index[0] + 1}: trial_id {repeated.iloc[0]!r} occurs twice; keep one")
    return table


def from_rows(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the runs table from one mapping per trial, known columns first."""
    frame = pd.DataFrame([dict(row) for row in rows])
    known = [name for name in _BY_NAME if name in frame.columns]
    phases = sorted(name for name in frame.columns if str(name).startswith(PHASE_PREFIX))
    others = [name for name in frame.columns if name not in known and name not in phases]
    return check_runs(frame[known + phases + others])


def read_runs(path: str | Path) -> pd.DataFrame:
    """Read a runs table from a results folder, a parquet file or a csv file.

    Raises:
        ValueError: If there is no such file, it cannot be read as a table, or a value is out of
            range; the message names the file.
    """
    source = Path(path)
    if source.is_dir():
        candidates = [source / "runs.parquet", source / "runs.csv"]
        found = [candidate for candidate in candidates if candidate.exists()]
        if not found:
            raise ValueError(f"{source} holds neither runs.parquet nor runs.csv; is it a results folder?")
        source = found[0]
    if not source.exists():
        raise ValueError(f"there is no file {source}; give a results folder, a .parquet or a .csv")
    readers = {".parquet": pd.read_parquet, ".csv": _read_csv}
    if source.suffix not in readers:
        raise ValueError(f"{source} ends in {source.suffix!r}; a runs table is .parquet or .csv")
    try:
        frame = readers[source.suffix](source)
    except (
        OSError,
        UnicodeDecodeError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        ValueError,
    ) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{source} cannot be read as a table: {first_line}") from error
    try:
        return check_runs(frame)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _read_csv(source: Path) -> pd.DataFrame:
    with source.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        longest = max((len(line) for line in lines), default=0)
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise ValueError(f"its header is {header[0]!r}; cells are separated by commas")
    if longest > len(header):
        raise ValueError(f"a row has more cells than its header ({longest} and {len(header)}); remove trailing commas")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"the column {twice[0]!r} stands there twice; drop one")
    return pd.read_csv(source, index_col=False)


def cell_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns whose values tell one cell from another, the seed aside."""
    if "cell" in table.columns:
        return ["cell"]
    settings = (
        "dataset", "family", "technique", "width", "depth", "n_train", "epochs", "learning_rate",
    )  # fmt: skip
    return [name for name in settings if name in table.columns]


def _checked(values: pd.Series, spec: Column) -> pd.Series:
    if spec.kind == "text":
        known = values.notna().to_numpy()
        plain = values.to_numpy(dtype=object)
        cells = [str(value) if here else None for value, here in zip(plain, known, strict=True)]
        text = pd.Series(cells, index=values.index, name=values.name, dtype=object)
        if spec.allowed:
            wrong = ~text.isin([*spec.allowed, None])
            _refuse(wrong, values, spec, f"is one of {', '.join(spec.allowed)}")
        return text
    plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiu"
    series = values if plain else pd.to_numeric(values, errors="coerce")
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    unknown = np.isnan(numbers)
    if not plain:
        _refuse(unknown & values.notna().to_numpy(), values, spec, "is a number")
    _refuse(np.isinf(numbers), values, spec, "is finite; leave unknown cells empty")
    if spec.kind == "fraction":
        _refuse((numbers < 0) | (numbers > 1), values, spec, "lies in [0, 1]; divide percentages by 100")
    elif spec.kind == "positive":
        _refuse(numbers <= 0, values, spec, "is above 0; leave unknown cells empty")
    elif spec.kind in ("nonnegative", "count"):
        _refuse(numbers < 0, values, spec, "is not negative; leave unknown cells empty")
    if spec.kind == "count":
        _refuse(~unknown & (numbers % 1 != 0), values, spec, "is a whole number")
        checked = pd.Series(numbers, index=values.index, name=values.name)
        return checked.astype("Int64") if unknown.any() else checked.astype(np.int64)
    return pd.Series(numbers, index=values.index, name=values.name)


def _refuse(wrong: pd.Series | np.ndarray, values: pd.Series, spec: Column, rule: str) -> None:
    if wrong.any():
        position = int(np.argmax(np.asarray(wrong, dtype=bool)))
        value = values.iloc[position]
        shown = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"row {position + 1}: {spec.name} is {shown!r}, but it {rule}")


def _did_you_mean(name: str, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
