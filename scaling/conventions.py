"""The exponent under each way of counting: which parameters, which FLOP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.fit import Fit, finite, fit
from scaling.laws.base import Law
from scaling.notebook import frame_html, paragraph_html

EXACT, SIX_ND = "FLOP as counted", "6 x parameters x examples x epochs"
ALL_PARAMETERS, CORE_PARAMETERS = "all parameters", "without embeddings and head"


@dataclass(frozen=True, repr=False)
class Conventions:
    """The same fit under several conventions; `not_available` says which could not be computed, and why."""

    fits: Mapping[str, Fit]
    not_available: Mapping[str, str]

    @property
    def table(self) -> pd.DataFrame:
        """One row per convention: status, exponent and equation."""
        return pd.DataFrame(
            [
                {
                    "convention": name,
                    "status": value.status.name.lower(),
                    "exponent": np.nan if value.exponent is None else value.exponent,
                    "equation": value.equation,
                }
                for name, value in self.fits.items()
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "exponents": {name: finite(value.exponent) for name, value in self.fits.items()},
            "fits": {name: value.to_dict() for name, value in self.fits.items()},
            "not_available": dict(self.not_available),
        }

    def __repr__(self) -> str:
        lines = [self.table.to_string(index=False)]
        return "\n".join(lines + [f"{name}: {reason}" for name, reason in self.not_available.items()])

    def _repr_html_(self) -> str:
        missing = [paragraph_html(f"{name}: {reason}") for name, reason in self.not_available.items()]
        return frame_html(self.table) + "".join(missing)


def fit_conventions(
    runs: pd.DataFrame, law: str | Law = "saturating", *, cost: str = "train_flops", core_params: str = "n_params_core",
    **settings: Any,
) -> Conventions:  # fmt: skip
    """Fit a law in one cost with compute counted on the graph, and by 6 N D with each count of parameters.

    Published exponents differ in these conventions as much as in anything else (Pearce and Song 2024,
    arXiv:2406.12907; Porian et al. 2024, arXiv:2406.19146).

    Args:
        runs: The runs table, with ``n_params``, ``n_train`` and, if there were several passes, ``epochs``.
        law: A law in one cost.
        cost: Column of the compute as counted.
        core_params: Column of the parameters without embeddings and head.
        settings: As for `fit`.

    Raises:
        ValueError: As `fit`.
    """
    fits = {EXACT: fit(runs, law, cost=cost, **settings)}
    missing: dict[str, str] = {}
    for label, size in ((ALL_PARAMETERS, "n_params"), (CORE_PARAMETERS, core_params)):
        name = f"{SIX_ND}, {label}"
        absent = [column for column in (size, "n_train") if column not in runs.columns]
        if absent:
            missing[name] = f"the runs table has no column {absent[0]!r}"
            continue
        passes = _numbers(runs, "epochs") if "epochs" in runs.columns else 1.0
        flops = 6.0 * _numbers(runs, size) * _numbers(runs, "n_train") * passes
        fits[name] = fit(runs.assign(flops_six_nd=flops), law, cost="flops_six_nd", **settings)
    return Conventions(fits, missing)


def _numbers(runs: pd.DataFrame, name: str) -> np.ndarray:
    return pd.to_numeric(runs[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
