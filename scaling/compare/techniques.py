"""Which runs belong to which technique, and whose settings were chosen on validation."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pandas as pd

from scaling.columns import BY_NAME, CELL_SETTINGS, PHASE_PREFIXES
from scaling.runs import check_runs
from scaling.selection import choose_on_validation

# Columns that tell trials apart, or say how they ended: no value of theirs is a technique.
NO_OPTIONS = frozenset({
    "trial_id", "cell", "tuning_cell", "sweep", "dataset", "technique", "seed", "status", "reason", "note",
})  # fmt: skip
_PHASES = tuple(PHASE_PREFIXES)


def read_techniques(runs: pd.DataFrame, by: Sequence[str] = ()) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Name the technique of every run and keep the learning rates that validation chose.

    Args:
        runs: The runs table. Without a column ``technique`` there is nothing to compare.
        by: Options whose every value is a technique of its own: ``magnitude-pruning density=0.1``.

    Returns:
        The runs kept, and the ids of those that lost to another learning rate.

    Raises:
        ValueError: If a column is missing.
    """
    table = check_runs(runs)
    if "technique" not in table.columns:
        raise ValueError(
            "the runs have no column 'technique', so there is nothing to compare; add one that names each run's, "
            "`baseline` for none"
        )
    if table["technique"].isna().any():
        place = int(table["technique"].isna().to_numpy().argmax())
        raise ValueError(f"row {place + 1}: technique is empty; name it, `baseline` for none")
    for option in by:
        if option not in table.columns or option in NO_OPTIONS:
            named = "no option" if option not in table.columns else "a column but no option"
            listed = ", ".join(_options(table))
            raise ValueError(
                f"the runs have {named} {option!r} to tell techniques apart by; they have {listed or 'no options'}"
            )
    chosen, not_chosen = choose_on_validation(table)
    names = chosen["technique"].astype(str)
    for option in by:
        values = chosen[option]
        suffix = [
            f" {option}={_short(value)}" if known else "" for value, known in zip(values, values.notna(), strict=True)
        ]
        names = names + pd.Series(suffix, index=chosen.index)
    return chosen.assign(technique=names), not_chosen


def _options(table: pd.DataFrame) -> list[str]:
    """Columns that are settings of a trial: not what names it, and not what was measured."""
    settings = [name for name in CELL_SETTINGS if name in table.columns]
    own = [str(name) for name in table.columns if name not in BY_NAME and not str(name).startswith(_PHASES)]
    return [name for name in (*own, *settings) if name not in NO_OPTIONS and table[name].notna().any()]


def check_techniques(runs: pd.DataFrame, baseline: str, techniques: Sequence[str] | None) -> list[str]:
    """Names of the techniques to compare, in the order asked for or that of the alphabet.

    Raises:
        ValueError: If the baseline or a technique is not in the runs, or nothing else is.
    """
    present = sorted(set(runs["technique"]))
    if baseline not in present:
        raise ValueError(f"the runs have no technique {baseline!r} as baseline{_hint(baseline, present)}")
    if techniques is None:
        others = [name for name in present if name != baseline]
        if not others:
            raise ValueError(f"the runs hold {baseline!r} alone; add the runs of a technique to compare it with")
        return others
    for name in techniques:
        if name not in present:
            raise ValueError(f"the runs have no technique {name!r}{_hint(name, present)}")
    return list(dict.fromkeys(techniques))


def _hint(name: str, present: list[str]) -> str:
    near = difflib.get_close_matches(name, present, n=1)
    listed = f"they have {', '.join(present)}"
    return f"; did you mean {near[0]!r}? ({listed})" if near else f"; {listed}"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
