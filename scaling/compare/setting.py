"""How a comparison is made, and which settings no comparison could follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.compare.joint import AUTOMATIC


@dataclass(frozen=True)
class Setting:
    """How a comparison is made.

    Attributes:
        error: Column of the error.
        level: Of the intervals.
        margin: Gains within ``1/(1 + margin)`` and ``1 + margin`` make no difference.
        bend_margin: A frontier that surely bends by less than this share of the baseline's exponent does not bend.
        law: ``power``, ``saturating`` or ``automatic``.
        n_resamples: Refits behind each interval.
        seed: Of the resampling.
        paired: Cells of the grid are resampled in both arms together.
        budgets: Costs at which the gain is read; by default three within what both arms spent.
    """

    error: str = "test_error"
    level: float = 0.95
    margin: float = 0.05
    bend_margin: float = 0.25
    law: str = AUTOMATIC
    n_resamples: int = 1000
    seed: int = 0
    paired: bool = True
    budgets: tuple[float, ...] = ()


def check_setting(setting: Setting, columns: Sequence[str]) -> None:
    """Refuse a setting that no comparison could follow.

    Raises:
        ValueError: With the value, what is allowed, and the remedy.
    """
    if not 0 < setting.level < 1:
        raise ValueError(f"level is {setting.level}, but it lies between 0 and 1; 0.95 is usual")
    if not (math.isfinite(setting.margin) and setting.margin >= 0):
        raise ValueError(f"margin is {setting.margin}, but it is a share from 0, such as 0.05")
    if not (math.isfinite(setting.bend_margin) and setting.bend_margin >= 0):
        raise ValueError(
            f"bend_margin is {setting.bend_margin}, but it is a share of the exponent from 0, such as 0.25"
        )
    if setting.n_resamples < 20:
        raise ValueError(f"n_resamples is {setting.n_resamples}, but it is a whole number from 20; 1000 is usual")
    if setting.law not in (AUTOMATIC, "power", "saturating"):
        raise ValueError(f"law is {setting.law!r}, but frontiers are compared under automatic, power or saturating")
    if setting.error not in columns:
        listed = [name for name in columns if name.endswith(("_error", "_loss"))]
        remedy = f"name one of {', '.join(listed)} with --error" if listed else "add the column, a share in [0, 1]"
        raise ValueError(f"the runs have no column {setting.error!r} to compare; {remedy}")
    wrong = [budget for budget in setting.budgets if not (math.isfinite(budget) and budget > 0)]
    if wrong:
        raise ValueError(f"a budget is {wrong[0]}, but budgets are above 0")
