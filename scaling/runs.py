"""The runs table: one row per trial, names with units, checked on reading.

It is the contract between whoever measures and whoever fits. A table written by a stranger
with the same column names fits just as well; columns that are not listed here pass through.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.columns import BY_NAME, CELL_SETTINGS, PHASE_PREFIXES, Column, column
from scaling.reading import number_hint, read_table
from scaling.tracked import TrackedRuns, read_tracked, runs_source


def check_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with known columns in their types, or say which cell is wrong.

    Absent columns stay absent, except ``trial_id``, ``seed`` and ``status``, which are completed
    (row number, 0, finished): a fit needs them. Empty cells mean "not known" and stay empty. Units
    are taken on trust; only ranges are checked.

    Raises:
        ValueError: If the table is empty, a value lies outside its column's range or is a list (row and column
            are named), or a trial occurs twice.
    """
    columns = checked_columns(frame)
    index = pd.RangeIndex(len(frame))
    table = pd.DataFrame({name: _series(name, values, index) for name, values in columns.items()}, copy=False)
    table.attrs = dict(frame.attrs)
    return table


def checked_columns(frame: pd.DataFrame, wanted: Collection[str] | None = None) -> dict[str, Any]:
    """Check columns of a table as `check_runs` does, without building another: that takes longer than a fit.

    Args:
        frame: The table.
        wanted: Columns to check; all if None.

    Returns:
        Arrays by name: text as objects, None where empty; counts as int64, or as float64 if some are
        empty (NaN); other numbers as float64. Columns that the runs table does not know are the
        frame's own.

    Raises:
        ValueError: As `check_runs`, for these columns.
    """
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"a runs table is a pandas DataFrame, not {type(frame).__name__}")
    if frame.empty:
        raise ValueError("the runs table has no rows")
    names = frame.columns.tolist()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the runs table has the column {twice!r} twice; drop one")
    columns: dict[str, Any] = {}
    for name in names:
        if wanted is None or name in wanted:
            known = name in BY_NAME or str(name).startswith(tuple(PHASE_PREFIXES))
            columns[name] = _checked(frame[name], column(str(name))) if known else frame[name]
    return _completed(columns, len(frame), set(names))


def _completed(columns: dict[str, Any], n_rows: int, present: set[str]) -> dict[str, Any]:
    """Add the columns a fit needs where the table lacks them; refuse a trial that occurs twice."""
    if "trial_id" not in present:
        columns["trial_id"] = np.array([f"row-{number:06d}" for number in range(1, n_rows + 1)], dtype=object)
    if "seed" not in present:
        columns["seed"] = np.zeros(n_rows, dtype=np.int64)
    if "status" not in present:
        columns["status"] = np.full(n_rows, "finished", dtype=object)
    ids = columns.get("trial_id", ())
    if len(set(ids)) < len(ids):
        row = int(np.flatnonzero(pd.Series(ids, dtype=object).duplicated())[0])
        raise ValueError(f"row {row + 1}: trial_id {ids[row]!r} occurs twice; keep one")
    return columns


def _series(name: str, values: Any, index: pd.RangeIndex) -> pd.Series:
    """A checked column as pandas holds it: counts with empty cells in its own integers."""
    if isinstance(values, pd.Series):
        _refuse_collections(name, values)
        return values.set_axis(index)
    series = pd.Series(values, index=index, name=name)
    is_count = values.dtype == np.float64 and column(str(name)).kind == "count"
    return series.astype("Int64") if is_count else series


def _refuse_collections(name: str, values: pd.Series) -> None:
    """Columns that are not the runs table's own pass through, if their cells can be told apart and counted."""
    if values.dtype != object:
        return
    for row, cell in enumerate(values.tolist(), 1):
        if not isinstance(cell, Hashable):
            raise ValueError(
                f"row {row}: {name} is {cell!r}, a {type(cell).__name__}, but a cell is a number or a text; drop the "
                "column, or give each of its entries a column of its own"
            )


def from_rows(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Build the runs table from one mapping per trial, known columns first."""
    frame = pd.DataFrame([dict(row) for row in rows])
    known = [name for name in BY_NAME if name in frame.columns]
    phases = sorted(name for name in frame.columns if str(name).startswith(tuple(PHASE_PREFIXES)))
    others = [name for name in frame.columns if name not in known and name not in phases]
    return check_runs(frame[known + phases + others])


def read_runs(path: str | Path, experiment: str | None = None) -> pd.DataFrame:
    """Read a runs table from a results folder, a parquet or csv file, or an experiment in MLflow.

    Args:
        path: A folder or file; or a tracking server (``http://127.0.0.1:5000``) or SQLite store (``sqlite:///PATH``),
            which MLflow itself is not needed for. ``http://127.0.0.1:5000#EXPERIMENT`` names the experiment as well.
        experiment: Name of the experiment in MLflow, such as ``ninthpower/digits``; may be left out where the address
            names it or there is only one.

    Raises:
        ValueError: If there is no such file or experiment, it cannot be read as a table, the server does not answer or
            asks for a password, or a value is out of range; the message names the place.
    """
    place = runs_source(path, experiment)
    if isinstance(place, TrackedRuns):
        return _read_tracked(place)
    source = place
    if source.is_dir():
        candidates = [source / "runs.parquet", source / "runs.csv"]
        found = [candidate for candidate in candidates if candidate.exists()]
        if not found:
            raise ValueError(f"{source} holds neither runs.parquet nor runs.csv; is it a results folder?")
        source = found[0]
    if not source.exists():
        raise ValueError(f"there is no file {source}; give a results folder, a .parquet or a .csv")
    if source.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{source} ends in {source.suffix!r}; a runs table is .parquet or .csv")
    try:
        frame = read_table(source)
    except ValueError as error:
        raise ValueError(f"{source} cannot be read as a table: {error}") from error
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}; give a file you may read") from error
    try:
        return check_runs(frame)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _read_tracked(place: TrackedRuns) -> pd.DataFrame:
    rows = read_tracked(place)
    try:
        return from_rows(rows)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def cell_columns(table: Container[str]) -> list[str]:
    """Name the columns of a table whose values tell one cell from another, the seed aside."""
    return ["cell"] if "cell" in table else [name for name in CELL_SETTINGS if name in table]


def _checked(values: pd.Series, spec: Column) -> NDArray[Any]:
    if spec.kind == "text":
        return _checked_text(values, spec)
    plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiu"
    series = values if plain else pd.to_numeric(values, errors="coerce")
    numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
    complete = bool(np.isfinite(numbers).all())
    unknown = np.zeros(numbers.size, dtype=bool) if complete else np.isnan(numbers)
    if not plain:
        _refuse(unknown & values.notna().to_numpy(), values, spec, "is a number", hint=number_hint)
    if not complete:
        _refuse(np.isinf(numbers), values, spec, "is finite; leave unknown cells empty")
    if spec.kind == "positive":
        _refuse(numbers <= 0, values, spec, "is above 0; leave unknown cells empty")
    elif spec.kind == "fraction":
        _refuse(numbers < 0, values, spec, "lies in [0, 1]; leave unknown cells empty")
        _refuse(numbers > 1, values, spec, "lies in [0, 1]; divide percentages by 100")
    else:
        _refuse(numbers < 0, values, spec, "is not negative; leave unknown cells empty")
    if spec.kind == "count":
        _refuse(~unknown & (numbers % 1 != 0), values, spec, "is a whole number")
        return numbers if unknown.any() else numbers.astype(np.int64)
    return numbers


def _checked_text(values: pd.Series, spec: Column) -> NDArray[np.object_]:
    cells = [cell if type(cell) is str else _text(cell) for cell in values.tolist()]
    text = np.empty(len(cells), dtype=object)
    text[:] = cells
    if spec.allowed and not set(cells) <= {*spec.allowed, None}:
        wrong = np.array([cell is not None and cell not in spec.allowed for cell in cells])
        _refuse(wrong, values, spec, f"is one of {', '.join(spec.allowed)}")
    return text


def _text(cell: object) -> str | None:
    """A cell as text, None if it is empty."""
    empty = pd.isna(cell)  # type: ignore[call-overload]
    return None if isinstance(empty, bool) and empty else str(cell)


def _refuse(
    wrong: NDArray[np.bool_],
    values: pd.Series,
    spec: Column,
    rule: str,
    *,
    hint: Callable[[object], str] = lambda _: "",
) -> None:
    if wrong.any():
        position = int(np.argmax(wrong))
        value = values.iloc[position]
        shown = value.item() if isinstance(value, np.generic) else value
        raise ValueError(f"row {position + 1}: {spec.name} is {shown!r}, but it {rule}{hint(shown)}")
