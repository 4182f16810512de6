"""What is charged: totals with phases left out or spread over several uses, money, and the cost of a lifetime."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6
# Totals whose phases have columns of their own, `<total>_<phase>`.
TOTALS = ("train_flops", "sparse_train_flops", "energy_joules", "wall_seconds")
# Costs that a comparison knows, in the order of its table.
COSTS: Mapping[str, str] = {
    "train_flops": "everything spent to get the model [FLOP]",
    "inference_flops": "one forward pass of one example [FLOP]",
    "inference_seconds": "measured time of one example [s]",
    "energy_joules": "energy of the trial [J]",
    "carbon_grams": "CO2-equivalent of that energy [g]",
    "money": "hours and electricity of the trial at the prices given",
    "n_params": "parameters of the model",
    "model_bytes": "bytes of the model as stored",
    "lifetime": "training and all uses [FLOP]",
    "lifetime_joules": "training and all uses [J], a FLOP of inference taken to need the joules of one of training",
    "sparse_train_flops": "train_flops on an ideal sparse machine [FLOP]",
    "sparse_inference_flops": "inference_flops on an ideal sparse machine [FLOP]",
    "sparse_lifetime": "lifetime on an ideal sparse machine [FLOP]",
}
# An ideal sparse machine does dense arithmetic at the dense cost.
_SPARSE = {"sparse_train_flops": "train_flops", "sparse_inference_flops": "inference_flops"}

NOT_THERE = "no trial has it"
# Columns that a cost is made of, where it is not one itself.
_MADE_OF = {
    "money": ("wall_seconds", "energy_joules"),
    "lifetime": ("train_flops", "inference_flops"),
    "lifetime_joules": ("energy_joules", "train_flops", "inference_flops"),
}
# Costs that are not known where another is not.
_DERIVED = {"energy_joules": ("carbon_grams", "money", "lifetime_joules"), "wall_seconds": ("money",)}


@dataclass(frozen=True)
class Charges:
    """What enters the costs, and at what price.

    Attributes:
        leave_out: Phases that are not charged: a teacher that existed anyway.
        spread: Phases shared by several uses, and by how many: a search whose result trains ten models.
        uses: Inferences in a model's lifetime; None where lifetimes are not asked for.
        price_per_hour: Of the machine share that a trial occupies, in any currency.
        price_per_kwh: Of electricity, in the same.
    """

    leave_out: tuple[str, ...] = ()
    spread: Mapping[str, float] = field(default_factory=dict)
    uses: float | None = None
    price_per_hour: float | None = None
    price_per_kwh: float | None = None

    def __post_init__(self) -> None:
        for phase, uses in self.spread.items():
            if not (math.isfinite(uses) and uses >= 1):
                raise ValueError(f"phase {phase!r} is spread over {uses} uses, but it is a number from 1")
        both = sorted(set(self.leave_out) & set(self.spread))
        if both:
            raise ValueError(f"phase {both[0]!r} is both left out and spread; choose one")
        for name in ("uses", "price_per_hour", "price_per_kwh"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}, but it is a number from 0")

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was asked for, in words; nothing where every phase is charged in full and nothing else was asked for."""
        found = []
        if self.leave_out:
            found.append(f"Not charged: {', '.join(self.leave_out)}.")
        if self.spread:
            found.append(f"Shared: {', '.join(f'{phase} by {uses:g} uses' for phase, uses in self.spread.items())}.")
        if self.uses is not None:
            found.append(f"A lifetime has {self.uses:g} uses.")
        prices = {"an hour": self.price_per_hour, "a kWh": self.price_per_kwh}
        known = [f"{price:g} {unit}" for unit, price in prices.items() if price is not None]
        return (*found, *([f"Prices: {', '.join(known)}."] if known else []))

    def share_not_charged(self) -> dict[str, float]:
        """Share of each phase that does not count."""
        return {**dict.fromkeys(self.leave_out, 1.0), **{phase: 1 - 1 / uses for phase, uses in self.spread.items()}}


@dataclass(frozen=True)
class Charged:
    """Runs with every cost of `COSTS` as a column.

    Attributes:
        table: The runs; a cost is empty where it is not known.
        missing: Costs that no run has, each with the reason.
        partly: Totals that some runs lost because the share of a phase is not known, each with the reason.
    """

    table: pd.DataFrame
    missing: Mapping[str, str]
    partly: Mapping[str, str]


def charge(runs: pd.DataFrame, charges: Charges) -> Charged:
    """Apply the charges: every cost of `COSTS` as a column, empty where it is not known.

    A trial without a phase has nothing to leave out. Where a total is known but the phase's share of it is not, the
    total is emptied: half a subtraction would be a wrong number.

    Raises:
        ValueError: If a phase is in none of the trials.
    """
    table = runs.copy()
    partly: dict[str, str] = {}
    original = {name: _numbers(table, name) for name in (*TOTALS, "carbon_grams", *_SPARSE.values(), *_SPARSE)}
    shares = charges.share_not_charged()
    _check_phases(table, shares)
    totals = {name: _without(table, name, original[name], shares, partly) for name in TOTALS}
    energy, seconds, train = totals["energy_joules"], totals["wall_seconds"], totals["train_flops"]
    inference = original["inference_flops"]
    with np.errstate(divide="ignore", invalid="ignore"):
        carbon = original["carbon_grams"] * _ratio(energy, original["energy_joules"], bool(shares))
        joules_per_flop = original["energy_joules"] / original["train_flops"]
    sparse = {
        name: np.where(np.isnan(original[name]), original[dense], original[name]) for name, dense in _SPARSE.items()
    }
    any_sparse = {name: bool(np.isfinite(original[name]).any()) for name in _SPARSE}
    sparse_total = np.where(np.isnan(original["sparse_train_flops"]), train, totals["sparse_train_flops"])
    uses = np.nan if charges.uses is None else charges.uses
    columns = {
        "train_flops": train, "inference_flops": inference, "inference_seconds": _numbers(table, "inference_seconds"),
        "energy_joules": energy, "carbon_grams": carbon, "money": _money(energy, seconds, charges),
        "n_params": _numbers(table, "n_params"), "model_bytes": _numbers(table, "model_bytes"),
        "lifetime": train + uses * inference,
        "lifetime_joules": energy + uses * inference * joules_per_flop,
        "sparse_train_flops": sparse_total if any_sparse["sparse_train_flops"] else np.full(len(table), np.nan),
        "sparse_inference_flops": sparse["sparse_inference_flops"]
        if any_sparse["sparse_inference_flops"] else np.full(len(table), np.nan),
        "sparse_lifetime": sparse_total + uses * sparse["sparse_inference_flops"]
        if any(any_sparse.values()) else np.full(len(table), np.nan),
    }  # fmt: skip
    for whole, derived in _DERIVED.items():
        if whole in partly:
            partly |= {name: partly[whole] for name in derived if name not in partly}
    missing = {
        name: partly.get(name, _why_empty(name, charges))
        for name, values in columns.items()
        if not np.isfinite(values).any()
    }
    return Charged(table.assign(**columns, wall_seconds=seconds), missing, partly)


def columns_of(cost: str) -> tuple[str, ...]:
    """Columns of the runs that a cost is read from."""
    return _MADE_OF.get(cost, (cost,))


def with_uses(charged: pd.DataFrame, uses: float) -> pd.Series:
    """Lifetime cost of charged runs for a number of uses [FLOP]."""
    return charged["train_flops"] + uses * charged["inference_flops"]


def phases(runs: pd.DataFrame) -> list[str]:
    """Phases that the runs tell apart."""
    found = {
        str(name).removeprefix(f"{total}_")
        for total in TOTALS
        for name in runs.columns
        if str(name).startswith(f"{total}_")
    }
    return sorted(found)


def _check_phases(table: pd.DataFrame, shares: Mapping[str, float]) -> None:
    known = phases(table)
    for phase in shares:
        if phase not in known:
            listed = f"they have {', '.join(known)}" if known else "they tell no phases apart"
            raise ValueError(f"no trial has a phase {phase!r}; {listed}")


def _without(
    table: pd.DataFrame, name: str, total: np.ndarray, shares: Mapping[str, float], partly: dict[str, str]
) -> np.ndarray:
    """A total less the shares of its phases that are not charged."""
    rest = total.copy()
    for phase, share in shares.items():
        part = _numbers(table, f"{name}_{phase}")
        # Its FLOP say whether a trial had the phase at all; FLOP of a dense phase are the same on a sparse machine.
        flops = _numbers(table, f"train_flops_{phase}")
        if name == "sparse_train_flops":
            part = np.where(np.isnan(part), flops, part)
        has_phase = (flops > 0) | (part > 0)
        rest = rest - np.where(has_phase, share * part, 0.0)
        if bool((has_phase & np.isnan(part) & np.isfinite(total)).any()):
            partly.setdefault(name, f"{name} of the phase {phase!r} is not known")
    return rest


def _ratio(part: np.ndarray, whole: np.ndarray, differs: bool) -> np.ndarray | float:
    # Carbon may be known where joules are not; it then stays as it is, unless a phase has to come off it.
    return part / whole if differs else 1.0


def _money(energy: np.ndarray, seconds: np.ndarray, charges: Charges) -> np.ndarray:
    if charges.price_per_hour is None and charges.price_per_kwh is None:
        return np.full(energy.size, np.nan)
    money = np.zeros(energy.size)
    if charges.price_per_hour is not None:
        money = money + charges.price_per_hour * seconds / SECONDS_PER_HOUR
    if charges.price_per_kwh is not None:
        money = money + charges.price_per_kwh * energy / JOULES_PER_KWH
    return money


def _why_empty(name: str, charges: Charges) -> str:
    if name == "money" and charges.price_per_hour is None and charges.price_per_kwh is None:
        return "no price is given; add a price per hour or per kWh"
    if "lifetime" in name and charges.uses is None:
        return "the number of uses is not given; add it"
    if name.startswith("sparse"):
        return "no trial is sparse"
    return NOT_THERE


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    if name not in table.columns:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
