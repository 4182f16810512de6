"""Each trial of tonight beside the trial of the baseline with the same settings and the same seed.

The settings are what a sweep asks for, not a hash of all that changes a result: a learning rate that somebody halved
must be compared with the one before, not looked for in vain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scaling.laws.base import Array

CELL_KEYS = ("dataset", "family", "technique", "width", "depth", "n_train")
PAIR_KEYS = (*CELL_KEYS, "seed")
BASE, TONIGHT = "_base", "_tonight"


@dataclass(frozen=True)
class Pairs:
    """Trials that finished on both sides, and what became of the others.

    Attributes:
        table: One row per pair: the keys, and each other column twice, with the suffixes ``_base`` and ``_tonight``.
        missing: Trials of the baseline that tonight does not have at all, as words.
        unfinished: Trials that finished in the baseline and not tonight: words, and how they ended.
        n_new: Trials of tonight that the baseline does not have.
    """

    table: pd.DataFrame
    missing: tuple[str, ...]
    unfinished: tuple[tuple[str, str], ...]
    n_new: int

    def differing(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Columns whose values are not the same to the last bit in every pair; unknown equals unknown."""
        found = []
        for name in columns:
            base, tonight = self.table.get(name + BASE), self.table.get(name + TONIGHT)
            if base is None or tonight is None:
                continue
            same = (base == tonight) | (base.isna() & tonight.isna())
            if not same.all():
                found.append(name)
        return tuple(found)


def pair_trials(base: pd.DataFrame, tonight: pd.DataFrame) -> Pairs:
    """Match two runs tables by settings and seed.

    Args:
        base: Runs of the baseline; those that did not finish are not compared.
        tonight: Runs of tonight.

    Raises:
        ValueError: If a table lacks a key, has two trials with the same settings and seed, or no trial of the
            baseline finished.
    """
    for name, table in (("the baseline", base), ("tonight", tonight)):
        lacking = [key for key in PAIR_KEYS if key not in table.columns]
        if lacking:
            raise ValueError(f"{name} has no column {', '.join(lacking)}, by which trials are matched")
        twice = table.duplicated(list(PAIR_KEYS))
        if twice.any():
            raise ValueError(f"{name} has two trials of {_words(table[twice].iloc[0])}; keep one")
    done = base[base["status"] == "finished"]
    if done.empty:
        raise ValueError("no trial of the baseline finished; write another from a whole night")
    both = done.merge(tonight, on=list(PAIR_KEYS), how="left", suffixes=(BASE, TONIGHT), indicator=True)
    absent = both["_merge"] == "left_only"
    unfinished = ~absent & (both[f"status{TONIGHT}"] != "finished")
    table = both[~absent & ~unfinished].drop(columns="_merge").sort_values(list(PAIR_KEYS), ignore_index=True)
    known = pd.MultiIndex.from_frame(base[list(PAIR_KEYS)])
    return Pairs(
        table,
        tuple(_words(row) for _, row in both[absent].iterrows()),
        tuple((_words(row), str(row[f"status{TONIGHT}"])) for _, row in both[unfinished].iterrows()),
        int((~pd.MultiIndex.from_frame(tonight[list(PAIR_KEYS)]).isin(known)).sum()),
    )


class SeedGrid:
    """Pairs of one technique as tables of (seeds, cells).

    Args:
        table: Pairs, as in `Pairs`.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table
        cell = table.groupby(list(CELL_KEYS), sort=True, dropna=False).ngroup().to_numpy()
        seed = np.unique(table["seed"].to_numpy(), return_inverse=True)[1]
        self._shape = (int(seed.max()) + 1, int(cell.max()) + 1)
        self._place = seed * self._shape[1] + cell

    def column(self, name: str) -> Array:
        """Values of a column, (seeds, cells).

        Raises:
            ValueError: If a cell lacks a seed that another has, or a value is not known.
        """
        wide = np.full(self._shape[0] * self._shape[1], np.nan)
        if name in self._table.columns:
            wide[self._place] = self._table[name].to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isnan(wide).any():
            what = name.removesuffix(BASE).removesuffix(TONIGHT)
            raise ValueError(f"{what} is not known for every seed of every cell, so that seeds cannot be compared")
        return wide.reshape(self._shape)


def _words(row: pd.Series) -> str:
    return " ".join(f"{key}={row[key]}" for key in PAIR_KEYS if pd.notna(row[key]))
