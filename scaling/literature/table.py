"""The table of published results: one row per result, units said in a column, checked on reading."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# FLOP in one of each unit that papers print; a multiply-add is two.
UNITS = {
    "FLOP": 1.0,
    "MFLOP": 1e6,
    "GFLOP": 1e9,
    "TFLOP": 1e12,
    "multiply-add": 2.0,
    "million multiply-adds": 2e6,
    "billion multiply-adds": 2e9,
}
TEXTS = (
    "benchmark", "model", "error_metric", "per_pass_unit", "per_pass_unit_printed", "hardware", "paper", "paper_url",
)  # fmt: skip
NUMBERS = (
    "year", "error", "per_pass", "n_params", "devices", "hours", "device_flops_per_second", "hardware_burden_flop",
)  # fmt: skip
REQUIRED = ("benchmark", "model", "year", "error")
# What makes two rows the same result.
IDENTITY = ("benchmark", "model", "year", "error", "per_pass", "hardware_burden_flop", "paper")
# A paper that collects others' results: its rows do not stand or fall together.
COLLECTION = "https://arxiv.org/abs/2007.05558"
# Burden as printed may differ from devices x rate x time by the rounding of its factors.
BURDEN_TOLERANCE = 0.01
FIRST_YEAR, LAST_YEAR = 1950, 2100


def published_results() -> pd.DataFrame:
    """The results that come with the package, checked, with the columns `check_published` adds.

    101 rows have a hardware burden, 110 the computation of one network pass on ImageNet. Where a paper
    printed multiply-adds in a column of FLOP, ``per_pass_unit`` says what they are and
    ``per_pass_unit_printed`` what the column said.

    Source:
        Thompson et al. 2020 (arXiv:2007.05558) for the burdens; the paper of each row for the passes.
    """
    with resources.as_file(resources.files("scaling.literature") / "published.csv") as path:
        return read_published(path)


def read_published(path: str | Path) -> pd.DataFrame:
    """Read a csv with the same columns; see `check_published`.

    Raises:
        ValueError: If there is no such file, it is no csv, or a cell is wrong; the file is named.
    """
    source = Path(path)
    if not source.is_file():
        raise ValueError(f"there is no file {source}; give a csv of published results")
    try:
        frame = pd.read_csv(source)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{source} cannot be read as a csv: {str(error).splitlines()[0]}") from error
    try:
        return check_published(frame)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def check_published(frame: pd.DataFrame) -> pd.DataFrame:
    """Check a table of published results and express its computation in FLOP.

    Adds ``per_pass_flops`` (in the unit the number truly has), ``per_pass_flops_as_printed`` (in the unit its
    column said) and ``work`` (rows of one paper, or of one burden and year where the paper is not told
    apart: the unit of resampling), and fills ``hardware_burden_flop`` from devices, rate and hours where it is
    empty. That the numbers are right is taken on trust, ranges are checked.

    Raises:
        ValueError: If a column is missing, a cell is out of range or its unit unknown (row and column are
            named), a result occurs twice, or no row has any computation.
    """
    if frame.empty:
        raise ValueError("the table of published results has no rows")
    for name in REQUIRED:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, map(str, frame.columns), n=1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ValueError(f"the table of published results has no column {name!r}{hint}")
    table = frame.reset_index(drop=True).reindex(columns=_columns(frame))
    for name in TEXTS:
        table[name] = _texts(table[name])
    for name in NUMBERS:
        table[name] = _numbers(table[name])
    _check_ranges(table)
    _check_units(table)
    table["hardware_burden_flop"] = _burden(table)
    _check_duplicates(table)
    _check_computation(table)
    table["year"] = table["year"].astype(int)
    table["per_pass_flops"] = table["per_pass"] * table["per_pass_unit"].map(UNITS).astype(float)
    table["per_pass_flops_as_printed"] = table["per_pass"] * table["per_pass_unit_printed"].map(UNITS).astype(float)
    table["work"] = _works(table)
    return table


def _columns(frame: pd.DataFrame) -> list[str]:
    known = [*TEXTS, *NUMBERS]
    return known + [str(name) for name in frame.columns if name not in known]


def _texts(values: pd.Series) -> pd.Series:
    known = values.notna().to_numpy()
    cells = values.to_numpy(dtype=object)
    texts = [" ".join(str(cell).split()) if here else "" for cell, here in zip(cells, known, strict=True)]
    return pd.Series(texts, index=values.index, name=values.name, dtype=object)


def _numbers(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    _refuse(numbers.isna() & values.notna(), values, "but it is a number")
    _refuse(np.isinf(numbers), values, "but it is finite; leave unknown cells empty")
    return numbers


def _check_ranges(table: pd.DataFrame) -> None:
    for name in ("benchmark", "model"):
        _refuse(table[name] == "", table[name], "but every result names one")
    for name in ("year", "error"):
        _refuse(table[name].isna(), table[name], f"but every result has one; add the {name} or drop the row")
    year = table["year"]
    _refuse((year < FIRST_YEAR) | (year > LAST_YEAR) | (year % 1 != 0), year, "but it is a year such as 2018")
    error = table["error"]
    _refuse((error <= 0) | (error > 1), error, "but it is a fraction above 0 and up to 1; divide percentages by 100")
    for name in NUMBERS[2:]:
        _refuse(table[name] <= 0, table[name], "but it is above 0; leave unknown cells empty")


def _check_units(table: pd.DataFrame) -> None:
    allowed = f"but it is one of {', '.join(UNITS)}"
    given = table["per_pass"].notna()
    _refuse(given & ~table["per_pass_unit"].isin(UNITS), table["per_pass_unit"], allowed)
    printed = table["per_pass_unit_printed"]
    _refuse((printed != "") & ~printed.isin(UNITS), printed, allowed)
    table["per_pass_unit_printed"] = printed.where(printed != "", table["per_pass_unit"])


def _burden(table: pd.DataFrame) -> pd.Series:
    product = table["devices"] * table["hours"] * 3600.0 * table["device_flops_per_second"]
    given = table["hardware_burden_flop"]
    wrong = ((product / given - 1).abs() > BURDEN_TOLERANCE).fillna(False)
    _refuse(wrong, given, "but devices x hours x 3600 x device_flops_per_second differs; correct one of them")
    return given.fillna(product)


def _check_duplicates(table: pd.DataFrame) -> None:
    twice = table.duplicated(subset=list(IDENTITY))
    if twice.any():
        position = int(np.argmax(twice.to_numpy()))
        row = table.iloc[position]
        same = (table[list(IDENTITY)].fillna(-1.0) == row[list(IDENTITY)].fillna(-1.0)).all(axis=1)
        first = int(np.argmax(same.to_numpy()))
        raise ValueError(
            f"row {position + 1}: model is {row['model']!r}, but row {first + 1} holds the same result "
            f"({row['benchmark']}, {row['year']:.0f}, error {row['error']:g}); keep one"
        )


def _check_computation(table: pd.DataFrame) -> None:
    if not (table["per_pass"].notna() | table["hardware_burden_flop"].notna()).any():
        raise ValueError(
            "no row has any computation; fill per_pass with per_pass_unit, or hardware_burden_flop, or devices, "
            "hours and device_flops_per_second"
        )


def _works(table: pd.DataFrame) -> pd.Series:
    """Rows that stand or fall together: of one paper, or of one burden and year in a paper that collects others'."""
    collected = table["hardware_burden_flop"].notna() & ((table["paper"] == "") | (table["paper_url"] == COLLECTION))
    burden = table["benchmark"] + " " + table["year"].astype(str)
    burden += " " + table["hardware_burden_flop"].map("{:.6g}".format)
    return burden.where(collected, table["paper"].where(table["paper"] != "", table["model"]))


def _refuse(wrong: Any, values: pd.Series, rule: str) -> None:
    """Name the first wrong cell by row and column."""
    bad = np.asarray(wrong, dtype=bool)
    if bad.any():
        position = int(np.argmax(bad))
        value = values.iloc[position]
        shown = "empty" if value == "" or value != value else repr(value.item() if hasattr(value, "item") else value)
        raise ValueError(f"row {position + 1}: {values.name} is {shown}, {rule}")
