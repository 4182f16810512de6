"""From a fit to the cost of a target: what `ninthpower project` answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiments.answer import Answer
from experiments.literature_study import engine_fit, read_source
from scaling import bootstrap
from scaling.bootstrap import Intervals
from scaling.columns import column
from scaling.literature import published_results
from scaling.literature.history import STATEMENTS, compute_growth, hardware_growth, split_growth
from scaling.literature.projections import (
    AMERICAN_YEAR_POUNDS,
    NEW_YORK_MONTH_TONNES,
    TARGETS,
    published_projections,
)
from scaling.literature.regression import benchmarks
from scaling.prices import DEVICES, GRAMS_PER_POUND, UTILISATION, Grid, Rates, Scenario, device_named, grid_named, rates
from scaling.projection import Projection, project, projection_costs
from scaling.theory import law_named
from scaling.tracked import RunsSource

# What a projection starts from where the caller gives no target: half the best error, and a quarter.
SHARES_OF_BEST = (0.5, 0.25)
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Bill:
    """Where and when the computing is bought; `utilisation` None: 1 for a burden, `UTILISATION` for FLOP counted."""

    device: str = "V100"
    region: str = "World"
    utilisation: float | None = None
    power_usage_effectiveness: float | None = None
    year: float | None = None
    price_halving_years: float | None = None
    efficiency_doubling_years: float | None = None
    grid_trend: str | None = None


def as_published() -> Answer:
    """The study's table of projections, with the decades beyond the data that it does not print."""
    table = published_projections(published_results())
    shown = table.assign(**{
        name: table[name].map("{:.1f}".format)
        for name in ("log10_gflop", "log10_pounds_co2", "log10_usd", "decades_beyond")
    }).assign(error=table["error"].map("{:.5g}".format))  # fmt: skip
    sentences = (
        "The study's constants: 14.13e12 FLOP/s for 0.74 USD an hour (a V100), and 3.4976e17 FLOP a pound of CO2.",
        f"For comparison, log10 of pounds of CO2: an average American's year {math.log10(AMERICAN_YEAR_POUNDS):.1f}, "
        f"New York City's month {math.log10(NEW_YORK_MONTH_TONNES * 1e6 / GRAMS_PER_POUND):.1f}.",
        "No price, efficiency or grid change over time is in these numbers, and no interval.",
    )
    return Answer({"projections as published (log10)": shown}, sentences, {"projections": table.to_dict("records")})


def history() -> Answer:
    """The growth of computation beside that of hardware, and its split between two results."""
    table = published_results()
    split = split_growth(table, "AlexNet", "NASNetA")
    cards = [device for device in DEVICES if device.precision == "FP32"]
    grown = [compute_growth(table, name) for name in benchmarks(table, "burden")]
    grown.append(hardware_growth([device.year for device in cards], [device.flops_per_second for device in cards]))
    frame = pd.DataFrame([
        {"what": g.what, "factor a year": g.factor_per_year, "low": g.low, "high": g.high, "n": g.n,
         "years": f"{g.first_year} to {g.last_year}"} for g in grown
    ])  # fmt: skip
    sentences = (
        f"{split.earlier} to {split.later}, {split.years} years: {split.total:,.1f} times the computation = "
        f"{split.faster_chips:.3f} (faster chips) x {split.more_chips:g} (more chips) x {split.longer_runs:.3f} "
        "(longer runs); published, cut off: 1,095 and 6.02.",
        *(f"As stated by {one.source}: {one.text}." for one in STATEMENTS),
    )
    return Answer({"growth per year with 95% intervals": frame}, sentences, {"split": vars(split)})


def project_literature(
    benchmark: str, source: str, law: str, targets: Sequence[float], bill: Bill, growth: float | None,
    *, level: float = 0.95,
) -> Answer:  # fmt: skip
    """Project a benchmark's published hardware burdens.

    Raises:
        ValueError: If the benchmark, the law, a target, a device or a region is unknown.
    """
    found = engine_fit(read_source(source), benchmark, "burden", law, N_RESAMPLES, level)
    wanted = targets or TARGETS.get(benchmark, ()) or _from_best(found)
    answered = project(found, wanted)
    return _answer(f"{benchmark}, published results", found, answered, _rates(bill, burden=True), growth)


def project_runs(
    path: RunsSource, law: str, targets: Sequence[float], bill: Bill, growth: float | None, *, cost: str | None = None,
    error: str | None = None, flops_per_param_example: float | None = None, level: float = 0.95,
) -> Answer:  # fmt: skip
    """Project the frontier of a sweep or a table of runs (its surface, for a law in size and data).

    Raises:
        ValueError: As `project_literature`, and if the cost is not in FLOP.
    """
    from experiments.results import read_results
    from experiments.sweep import FitSpec

    runs, sweep, _ = read_results(path)
    settings = sweep.fit if sweep else FitSpec()
    cost, error = cost or settings.cost, error or settings.error
    _require_flop(cost)
    form = law_named(law)
    single = len(form.roles) == 1
    found = bootstrap(runs, form, cost=cost, error=error, frontier=single, n_resamples=N_RESAMPLES, level=level)
    answered = project(found, targets or _from_best(found), flops_per_param_example=flops_per_param_example)
    burden = cost == "hardware_burden_flop"
    return _answer(str(path), found, answered, _rates(bill, burden=burden), growth)


def _answer(what: str, found: Intervals, answered: Sequence[Projection], rate: Rates, growth: float | None) -> Answer:
    rows, bills, sentences = [], [], []
    for one in answered:
        rows.append({
            "error": one.error, "log10 FLOP": one.log10_cost, "low": one.low, "high": one.high,
            "decades beyond": one.decades_beyond, "worth": one.status.name.lower(), "why": one.reason,
        })  # fmt: skip
        costs = projection_costs(one, rate)
        bills.append({"error": one.error, **_bill_row(costs, one), **_years(one, growth)})
        if one.quoted:
            sentences.append(_comparison(one, costs))
    tables = {f"{what}: law {found.fit.law} at {found.level:.0%}": pd.DataFrame(rows)}
    if any(one.quoted for one in answered):
        tables["what it takes, with intervals"] = pd.DataFrame(bills)
    sentences += [f"Bill: {rate.basis}.", "An interval knows nothing of a law that changes beyond the data."]
    content = {"fit": found.to_dict(), "projections": [one.to_dict() for one in answered], "basis": rate.basis}
    return Answer(tables, tuple(sentences), content)


def _bill_row(costs: pd.DataFrame, one: Projection) -> dict[str, str]:
    return {
        f"{line.quantity}, {line.unit}": _amount(line.log10, line.low, line.high) if one.quoted else "no number"
        for line in costs.itertuples()
        if line.quantity != "computation"
    }


def _years(one: Projection, growth: float | None) -> dict[str, str]:
    if growth is None:
        return {}
    title = f"years at {growth:g} times a year"
    if not one.quoted:
        return {title: "no number"}
    middle, low, high = one.years(growth)
    return {title: f"{middle:.1f} [{low:.1f}, {high:.1f}]"}


def _amount(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "not known"
    return f"{_power(value)} [{_power(low)}, {_power(high)}]"


def _power(log10: float) -> str:
    if math.isinf(log10):
        return "∞" if log10 > 0 else "0"
    if -2 < log10 < 4:
        return f"{10**log10:.3g}"
    exponent = math.floor(log10)
    return f"{10 ** (log10 - exponent):.1f}e{exponent}"


def _comparison(one: Projection, costs: pd.DataFrame) -> str:
    line = costs.set_index("quantity").loc["carbon"]
    person, city = math.log10(AMERICAN_YEAR_POUNDS * GRAMS_PER_POUND), math.log10(NEW_YORK_MONTH_TONNES * 1e6)
    people = _amount(*(float(line[name]) - person for name in ("log10", "low", "high")))
    months = _amount(*(float(line[name]) - city for name in ("log10", "low", "high")))
    return (
        f"An error of {one.error:g}: the CO2 of {people} years of an average American, or {months} months of New York "
        f"City; {one.decades_beyond:.1f} decades beyond the data."
    )


def _rates(bill: Bill, *, burden: bool) -> Rates:
    device, grid = device_named(bill.device), grid_named(bill.region)
    scenario = Scenario(bill.year, bill.price_halving_years, bill.efficiency_doubling_years, _trend(bill, grid))
    utilisation = bill.utilisation if bill.utilisation is not None else (1.0 if burden else UTILISATION)
    settings: dict[str, Any] = {}
    if bill.power_usage_effectiveness is not None:
        settings["power_usage_effectiveness"] = bill.power_usage_effectiveness
    return rates(device, grid, utilisation=utilisation, scenario=scenario, **settings)


def _trend(bill: Bill, grid: Grid) -> float:
    if bill.grid_trend is None:
        return 0.0
    if bill.grid_trend == "own":
        if grid.decline_per_year is None:
            raise ValueError(f"the table has one date for {grid.region}, so no trend of its own; give a share")
        return grid.decline_per_year
    try:
        return float(bill.grid_trend)
    except ValueError:
        given = bill.grid_trend
        raise ValueError(f"the grid trend is {given!r}, but it is a share per year, such as 0.02, or own") from None


def _from_best(found: Intervals) -> tuple[float, ...]:
    best = math.exp(float(found.fit.points.y.min()))
    return tuple(share * best for share in SHARES_OF_BEST)


def _require_flop(cost: str) -> None:
    try:
        unit = column(cost).unit
    except ValueError:
        unit = "FLOP" if "flop" in cost.lower() else "unknown"
    if unit != "FLOP":
        raise ValueError(f"the cost {cost!r} is in {unit or 'no unit'}, but a bill starts from FLOP; use train_flops")
