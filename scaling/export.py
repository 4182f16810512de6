"""What leaves the program as files: written whole or not at all, the same content as the same bytes."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def check_writable(folder: Path, remedy: str = "give a folder that you may write to") -> Path:
    """Return the folder, if files can be written there; it is not made, and nothing is left in it.

    Args:
        folder: Where something is to be written. Where it is not there yet, the nearest folder that is counts.
        remedy: What to do where it cannot be.

    Raises:
        ValueError: If it is not a folder, or may not be written to.
    """
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file")
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ValueError(not_writable_text(folder, error, remedy)) from None
    return folder


def not_writable_text(folder: Path, error: OSError, remedy: str = "give a folder that you may write to") -> str:
    """Say where nothing can be written, why, and what to do: the same sentence wherever it turns out."""
    why = error.strerror or str(error)
    return f"{folder} cannot be written to ({why[:1].lower()}{why[1:]}); {remedy}"


def write_json(content: Mapping[str, Any], path: Path) -> Path:
    """Write a mapping as JSON with sorted keys.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON cannot.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_runs(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write a runs table as ``runs.parquet`` and ``runs.csv``; return the paths."""
    # What was mended as it was read is mended in what is written; parquet would keep the note of it.
    table = table.copy(deep=False)
    table.attrs = {}
    return [
        _replace(folder / "runs.parquet", lambda temporary: table.to_parquet(temporary, index=False)),
        _replace(folder / "runs.csv", lambda temporary: table.to_csv(temporary, index=False)),
    ]


def _replace(path: Path, write: Callable[[Path], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path, kind: str) -> list[Path]:
    """Write named tables as ``csv``, ``parquet`` or ``latex`` files of their names; return the paths.

    Raises:
        ValueError: If the kind is none of these.
    """
    writers: dict[str, tuple[str, Callable[[pd.DataFrame, Path], object]]] = {
        "csv": (".csv", lambda table, path: table.to_csv(path, index=False)),
        "parquet": (".parquet", lambda table, path: _plain(table).to_parquet(path, index=False)),
        "latex": (".tex", lambda table, path: path.write_text(latex_table(table), encoding="utf-8")),
    }
    if kind not in writers:
        raise ValueError(f"the format is {kind!r}; it is one of {', '.join(writers)}")
    suffix, write = writers[kind]

    def written(name: str, table: pd.DataFrame) -> Path:
        return _replace(folder / f"{name}{suffix}", lambda temporary: write(table, temporary))

    return [written(name, table) for name, table in tables.items()]


def latex_table(table: pd.DataFrame) -> str:
    r"""A table for a paper, with the rules of the package booktabs; numbers to four digits, as ``$1.2\cdot10^{9}$``."""
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    layout = "".join("r" if is_number else "l" for is_number in numeric)
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", _latex_row(map(_latex_text, table.columns)), r"\midrule"]
    lines += [_latex_row(map(_latex_cell, row)) for row in table.itertuples(index=False, name=None)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, float) and not math.isinf(value):
        digits, _, power = f"{value:.4g}".partition("e")
        return rf"${digits}\cdot10^{{{int(power)}}}$" if power else f"${digits}$"
    return _latex_text(value)


def _latex_text(value: object) -> str:
    return "".join(_LATEX_ESCAPES.get(letter, letter) for letter in str(value))


_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}  # fmt: skip


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Tuples become lists: parquet knows no others."""
    return table.map(lambda value: list(value) if isinstance(value, tuple) else value)
