"""What leaves the program as files: written whole or not at all, the same content as the same bytes."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def write_json(content: Mapping[str, Any], path: Path) -> Path:
    """Write a mapping as JSON with sorted keys.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON cannot.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_runs(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write a runs table as ``runs.parquet`` and ``runs.csv``; return the paths."""
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
