"""Which runs are repeats of one another and move together: the cells, or what the caller names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.runs import cell_columns
from scaling.words import agree

Labels: TypeAlias = NDArray[np.int64]
Columns: TypeAlias = pd.DataFrame | Mapping[str, Any]


def cluster_labels(table: Columns, cost: str, cluster: str | None = None) -> Labels:
    """Number the cluster of each run: the cell, or the values of the column `cluster`.

    Without a ``cell`` column, runs that agree in every setting the table has are one cell; where that
    would put one seed twice into a cell, the settings do not tell the cells apart (checkpoints of one
    run, a stranger's table) and the cost is taken as a setting too.

    Args:
        table: The runs table, or its checked columns by name.
        cost: Column that tells cells apart where nothing else does.
        cluster: Column whose equal values are resampled together; the cell if None.

    Raises:
        ValueError: If there is no column `cluster`.
    """
    return labels_and_note(table, cost, cluster)[0]


def labels_and_note(table: Columns, cost: str, cluster: str | None = None) -> tuple[Labels, str]:
    """As `cluster_labels`, with a sentence where repeats could not be recognised; empty where there are none."""
    if cluster is not None:
        if cluster not in table:
            raise ValueError(f"the runs table has no column {cluster!r} to resample by")
        return _codes(table, [cluster]), ""
    settings = cell_columns(table)
    settings += [name for name in ("n_params",) if "cell" not in settings and name in table]
    if not settings:
        return _told_apart(table, _codes(table, [cost]), cost)
    codes = _codes(table, settings)
    if settings != ["cell"] and _n_distinct(_paired(codes, _code(table["seed"]))) < codes.size:
        return _told_apart(table, _codes(table, [*settings, cost]), cost)
    return codes, ""


def _told_apart(table: Columns, codes: Labels, cost: str) -> tuple[Labels, str]:
    """Runs of one cost with one seed number are repeats: one cell, unless nothing says that they are seeds."""
    if pd.Series(table["seed"]).nunique() > 1:
        return codes, _doubles_note(table, codes)
    n_repeats = codes.size - _n_distinct(codes)
    note = (
        f"{n_repeats} of {codes.size} runs {agree(n_repeats, 'repeats', 'repeat')} the {cost} of another, and no seeds "
        "tell them apart: each counts as a cell of its own, and a frontier keeps the luckiest; number repeats in a "
        "column `seed`, and keep each run once"
    )
    return np.arange(codes.size, dtype=np.int64), note if n_repeats else ""


def _doubles_note(table: Columns, codes: Labels) -> str:
    """What is to be said of runs that agree in all that is known of them, the seed included."""
    n_doubles = codes.size - _n_distinct(_paired(codes, _code(table["seed"])))
    if not n_doubles:
        return ""
    return (
        f"{n_doubles} of {codes.size} runs {agree(n_doubles, 'has', 'have')} the settings, the cost and the seed of "
        "another, and are averaged with it as if they were of more seeds: if something else tells them apart, such as "
        "the model, name its column `family` or `technique`; if nothing does, keep each run once"
    )


def _codes(table: Columns, names: list[str]) -> Labels:
    """Number the distinct combinations of some columns in the order in which they first occur."""
    codes = _code(table[names[0]])
    for name in names[1:]:
        codes = _paired(codes, _code(table[name]))
    return codes


def _paired(first: Labels, second: Labels) -> Labels:
    return _code(first * (second.max(initial=0) + 1) + second)


def _code(values: Any) -> Labels:
    return pd.factorize(values, use_na_sentinel=False)[0].astype(np.int64)


def _n_distinct(codes: Labels) -> int:
    return int(codes.max(initial=-1)) + 1
