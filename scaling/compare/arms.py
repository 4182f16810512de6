"""The two arms of a comparison: which runs are on their frontiers, and which cells belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from scaling.clusters import labels_and_note
from scaling.columns import CELL_SETTINGS
from scaling.compare.frontiers import SURFACE_COLUMNS, crossfitted
from scaling.points import Points, log_of_counts, no_size, test_sizes, usable_runs
from scaling.words import agree, counted

T = TypeVar("T")
# Cells of two techniques are a pair if they agree in these, as far as the table has them.
MATCH_COLUMNS = ("dataset", "family", "width", "depth", "n_train", "epochs")
# What is read of the runs beside cost and error; the phases, energies and devices of a sweep are three times as many.
_READ = frozenset({
    "trial_id", "cell", "seed", "status", "reason", "n_test", "n_shift_test", *MATCH_COLUMNS,
    *SURFACE_COLUMNS, *CELL_SETTINGS,
})  # fmt: skip
# With fewer cells in common there is nothing to resample together.
LEAST_COMMON = 3


@dataclass(frozen=True)
class FrontierPair:
    """The frontier runs of two arms as one set of points.

    Attributes:
        points: Inputs are log cost and the arm (0 baseline, 1 technique); a cluster is a cell of the grid, in
            whichever arm.
        n_cells: Cells with a usable run, per arm; `n_common` of the grid are in both.
        n_frontier: Cells on the frontier, per arm.
        n_seeds: Most seeds of a cell.
        cost_range: Least and largest cost of the frontier runs, per arm.
        left_out: Runs that could not be placed, each with the reason.
        notes: What a reader must know of how the frontiers were chosen.
    """

    points: Points
    n_cells: tuple[int, int]
    n_common: int
    n_frontier: tuple[int, int]
    n_seeds: int
    cost_range: tuple[tuple[float, float], tuple[float, float]]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def read_pair(
    runs: pd.DataFrame, baseline: str, technique: str, *, cost: str, error: str, paired: bool = True
) -> FrontierPair:
    """Find the frontier of either arm and match their cells.

    The frontiers are cross-fitted, see `scaling.compare.frontiers`.

    Args:
        runs: The runs table, choices on validation made.
        baseline: Value of the column ``technique`` of the one arm, `technique` that of the other. They may be the same.
        cost: Column of the cost.
        error: Column of the error.
        paired: Resample a cell of the grid in both arms together. Without, each arm's cells stand alone.

    Raises:
        ValueError: If an arm has no usable run, or too few cells are in both.
    """
    parts, left_out, repeats = [], [], []
    table = runs[[name for name in runs.columns if name in {*_READ, cost, error}]]
    for arm, name in enumerate((baseline, technique)):
        part, dropped = _usable(table[table["technique"] == name], cost, error)
        if part.empty:
            raise ValueError(f"no run of {name!r} has both {cost} and {error}{_first_reason(dropped)}")
        cells, note = _names(part, cost, arm)
        parts.append(part.assign(_arm=arm, _cell=cells))
        left_out += dropped
        repeats += [f"of {name!r}, {note}"] if note else []
        zeros = sum(reason == no_size(error) for _, reason in dropped)
        if zeros:
            repeats.append(
                f"{counted(zeros, 'run')} of {name!r} {agree(zeros, 'has', 'have')} {error} 0 and no known number of "
                f"test examples: left out, which makes {name!r} look worse than it is; give a column `n_test`"
            )
    matched = _matched_by(parts) if paired else []
    if paired and not matched:
        raise ValueError(
            f"the runs have none of the columns {', '.join(MATCH_COLUMNS)} to match the cells of {technique!r} with "
            f"those of {baseline!r}; compare them unpaired"
        )
    for number, part in enumerate(parts):
        parts[number] = part.assign(_pair=_pair_keys(part, matched) if paired else part["_cell"])
    common = set(parts[0]["_pair"]) & set(parts[1]["_pair"])
    if paired and len(common) < LEAST_COMMON:
        count = f"{len(common)} cell{'' if len(common) == 1 else 's'}"
        raise ValueError(
            f"{technique!r} and {baseline!r} have {count} in common, matched by {', '.join(matched)}, and at least "
            f"{LEAST_COMMON} are needed; run both on the same grid, or compare them unpaired"
        )
    ordered = [_ordered(part, cost, error) for part in parts]
    front = _ordered(pd.concat([part[crossfitted(part, cost, error)] for part in ordered]), cost, error)
    everything = pd.concat(ordered)
    return FrontierPair(
        _points(front, cost, error, left_out),
        _per_arm(everything, lambda part: part["_cell"].nunique()), len(common),
        _per_arm(front, lambda part: part["_cell"].nunique()),
        int(everything.groupby("_cell").size().max()),
        _per_arm(front, lambda part: (float(part[cost].min()), float(part[cost].max()))),
        tuple(sorted(set(left_out))), (*repeats, *_notes(parts, paired, common)),
    )  # fmt: skip


def count_statuses(runs: pd.DataFrame, technique: str) -> dict[str, int]:
    """How the trials of a technique ended."""
    return dict(sorted(Counter(runs.loc[runs["technique"] == technique, "status"]).items()))


def count_notes(runs: pd.DataFrame, technique: str) -> dict[str, int]:
    """What trials of a technique are noted for, and how many are; nothing where the runs have no notes."""
    if "note" not in runs.columns:
        return {}
    return dict(sorted(Counter(runs.loc[runs["technique"] == technique, "note"].dropna()).items()))


def _usable(runs: pd.DataFrame, cost: str, error: str) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    if runs.empty:
        return runs, []
    table, _, dropped = usable_runs(runs, [cost], error)
    reasons = list(dropped)
    known = test_sizes(table, error)
    lost = (table[error] == 0).to_numpy() & ~(known > 0)
    reasons += [(str(trial), no_size(error)) for trial in table.loc[lost, "trial_id"]]
    return table[~lost], reasons


def _first_reason(dropped: Sequence[tuple[str, str]]) -> str:
    if not dropped:
        return ""
    reason = Counter(reason for _, reason in dropped).most_common(1)[0]
    return f": {reason[0]} ({reason[1]} run{'' if reason[1] == 1 else 's'})"


def _names(part: pd.DataFrame, cost: str, arm: int) -> tuple[list[str], str]:
    """Name the cells of an arm by what tells them apart, so that their order is not that of the rows.

    Returns:
        The names, and a sentence where repeats could not be recognised; empty where there are none.
    """
    if "cell" in part.columns and part["cell"].notna().all():
        return [f"{arm}:{name}" for name in part["cell"]], ""
    labels, note = labels_and_note(part, cost)
    ids = part["trial_id"].astype(str).groupby(labels).transform("min")
    return [f"{arm}:{name}" for name in ids], note


def _matched_by(parts: Sequence[pd.DataFrame]) -> list[str]:
    return [name for name in MATCH_COLUMNS if all(name in part and part[name].notna().all() for part in parts)]


def _pair_keys(part: pd.DataFrame, names: list[str]) -> list[str]:
    # Numbers of fixed width, so that the order of the names is that of the numbers.
    columns = [
        [f"{value:024.8f}" if isinstance(value, int | float) else str(value) for value in part[name].tolist()]
        for name in names
    ]
    return ["|".join(values) for values in zip(*columns, strict=True)]


def _ordered(table: pd.DataFrame, cost: str, error: str) -> pd.DataFrame:
    """Sort the runs by what they say, not by where they stood."""
    order = ["_pair", "_arm", "_cell", "seed", cost, error]
    return table.sort_values(order, kind="stable").reset_index(drop=True)


def _points(ordered: pd.DataFrame, cost: str, error: str, left_out: list[tuple[str, str]]) -> Points:
    n_test = test_sizes(ordered, error)
    x = np.array([np.log(ordered[cost].to_numpy(dtype=np.float64)), ordered["_arm"].to_numpy(dtype=np.float64)])
    return Points(
        x=x,
        y=log_of_counts(ordered[error].to_numpy(dtype=np.float64), n_test),
        n_test=n_test,
        cluster=pd.factorize(ordered["_pair"])[0].astype(np.int64),
        n_seeds=np.ones(len(ordered)),
        seed_variance=float("nan"),
        trial_ids=tuple(sorted(set(ordered["trial_id"].astype(str)))),
        left_out=tuple(sorted(set(left_out))),
    )


def _per_arm(table: pd.DataFrame, value: Callable[[pd.DataFrame], T]) -> tuple[T, T]:
    return value(table[table["_arm"] == 0]), value(table[table["_arm"] == 1])


def _notes(parts: Sequence[pd.DataFrame], paired: bool, common: set[str]) -> tuple[str, ...]:
    notes = []
    if any((part.groupby("_cell").size() == 1).any() for part in parts):
        notes.append(
            "there are cells of one seed, whose own luck helps to choose them for the frontier; it cancels only where "
            "both arms are equally noisy"
        )
    alone = sum(part.loc[~part["_pair"].isin(common), "_pair"].nunique() for part in parts)
    if paired and alone:
        notes.append(f"{alone} cell{' is' if alone == 1 else 's are'} in one arm only")
    if not paired:
        notes.append("the arms were resampled separately, cell by cell")
    return tuple(notes)
