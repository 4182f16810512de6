"""What a FLOP costs: dated prices, power and grid intensities with their sources, and scenarios for their change."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

Entry = TypeVar("Entry")
SECONDS_PER_HOUR = 3600.0
GRAMS_PER_POUND = 453.59237
# Data centres draw this many times the power of their computers: average of the Uptime Institute's surveys of
# 2018 and 2023, and the value of Strubell et al. 2019 (arXiv:1906.02243).
POWER_USAGE_EFFECTIVENESS = 1.58
# Share of the peak rate that training reaches. Assumed: published large trainings report 0.3 to 0.5.
UTILISATION = 0.35
_AWS = "Amazon EC2 price list, us-east-1, on demand"
_BLOCKS = "Amazon EC2 Capacity Blocks price list, per accelerator"
_OWID = "Ember and Energy Institute 2024, through Our World in Data"


@dataclass(frozen=True)
class Device:
    """A processor: its peak rate at a precision, its power, and what an hour of it costs; None where unknown."""

    name: str
    year: int
    flops_per_second: float
    precision: str
    watts: float
    source: str
    usd_per_hour: float | None = None
    price_year: float | None = None
    price_source: str = ""


@dataclass(frozen=True)
class Grid:
    """Carbon intensity of a region's electricity in a year, life cycle, and of an earlier year if known."""

    region: str
    year: int
    grams_per_kwh: float
    source: str
    earlier_year: int | None = None
    earlier_grams_per_kwh: float | None = None

    @property
    def decline_per_year(self) -> float | None:
        """Share by which the intensity fell each year between the two dates; None with one date."""
        if self.earlier_year is None or self.earlier_grams_per_kwh is None:
            return None
        ratio = self.grams_per_kwh / self.earlier_grams_per_kwh
        return 1.0 - ratio ** (1.0 / (self.year - self.earlier_year))


DEVICES: tuple[Device, ...] = (
    Device("GTX 580", 2010, 1.58e12, "FP32", 244, "NVIDIA data sheet 2010"),
    Device("K80", 2014, 5.6e12, "FP32", 300, "NVIDIA data sheet 2014, without boost"),
    Device("P100", 2016, 9.52e12, "FP32", 250, "NVIDIA data sheet 2016, PCIe"),
    Device("V100", 2017, 15.7e12, "FP32", 300, "NVIDIA data sheet 2017, SXM2", 3.06, 2020, f"{_AWS}, p3.2xlarge"),
    Device("V100 tensor", 2017, 125e12, "FP16", 300, "NVIDIA data sheet 2017, SXM2", 3.06, 2020, f"{_AWS}, p3.2xlarge"),
    Device("A100", 2020, 312e12, "BF16", 400, "NVIDIA data sheet 2020, SXM", 1.844, 2024, f"{_BLOCKS}, p4d"),
    Device("H100", 2022, 989e12, "BF16", 700, "NVIDIA data sheet 2023, SXM, dense", 4.916, 2024, f"{_BLOCKS}, p5"),
    Device("H200", 2024, 989e12, "BF16", 700, "NVIDIA data sheet 2024, SXM, dense", 5.408, 2024, f"{_BLOCKS}, p5e"),
)  # fmt: skip

GRIDS: tuple[Grid, ...] = (
    Grid("World", 2023, 481, "Ember 2024"),
    Grid("United States", 2023, 369, _OWID),
    Grid("Canada", 2023, 170, _OWID),
    Grid("China", 2023, 582, _OWID),
    Grid("India", 2023, 713, _OWID),
    Grid("Japan", 2023, 485, _OWID),
    Grid("Norway", 2023, 30, _OWID),
    Grid("Sweden", 2023, 41, _OWID),
    Grid("Poland", 2023, 662, _OWID),
    Grid("United Kingdom", 2023, 238, _OWID),
    Grid("France", 2023, 56, _OWID, 1990, 104),
    Grid("Germany", 2023, 381, _OWID, 1990, 622),
    Grid("Finland", 2023, 79, _OWID, 1990, 282),
    Grid("Denmark", 2023, 152, _OWID, 1990, 890),
    Grid("Ireland", 2023, 291, _OWID, 1990, 695),
)


@dataclass(frozen=True)
class Scenario:
    """When the computing is bought, and how prices, efficiency and the grid change until then.

    Attributes:
        year: Of the purchase; None is the date of each table row, without any change.
        price_halving_years: Years in which the price of a FLOP halves; None for no change. Hobbhahn et al. 2023 (Epoch
            AI, "Trends in machine learning hardware") measured 2.1 for machine-learning GPUs.
        efficiency_doubling_years: Years in which FLOP per joule double; None for no change. The same: 3.0.
        grid_decline_per_year: Share by which the grid's intensity falls each year.
    """

    year: float | None = None
    price_halving_years: float | None = None
    efficiency_doubling_years: float | None = None
    grid_decline_per_year: float = 0.0

    def __post_init__(self) -> None:
        for name in ("price_halving_years", "efficiency_doubling_years"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, but it is a number of years above 0; leave it out for no change")
        if not -1 < self.grid_decline_per_year < 1:
            raise ValueError(f"grid_decline_per_year is {self.grid_decline_per_year}, but it lies in (-1, 1)")
        changes = self.price_halving_years or self.efficiency_doubling_years or self.grid_decline_per_year
        if changes and self.year is None:
            raise ValueError(
                "prices, efficiency or the grid change, but no year is given; add the year of the purchase"
            )

    def after(self, date: float | None) -> float:
        """Years from the date of a table row to the purchase, negative before it."""
        return 0.0 if self.year is None or date is None else self.year - date


@dataclass(frozen=True)
class Rates:
    """What one FLOP costs; `usd` is None where the device has no price."""

    device_hours: float
    kwh: float
    grams_co2: float
    usd: float | None
    basis: str


def rates(
    device: Device,
    grid: Grid,
    *,
    utilisation: float = UTILISATION,
    power_usage_effectiveness: float = POWER_USAGE_EFFECTIVENESS,
    scenario: Scenario | None = None,
) -> Rates:
    """Cost of one FLOP on a device, in a region, in a scenario.

    Args:
        device: Its peak rate and power at that rate.
        grid: Where the electricity comes from.
        utilisation: Share of the peak rate that is reached; 1 if the FLOP are a hardware burden, which counts
            the peak already.
        power_usage_effectiveness: Power of the building over that of its computers.
        scenario: Changes over time; none if None. Device-hours are those of the device as it is.

    Raises:
        ValueError: If the utilisation is not in (0, 1] or the effectiveness below 1.
    """
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation is {utilisation}, but it is a share of the peak rate, above 0 and up to 1")
    if not power_usage_effectiveness >= 1:
        raise ValueError(f"power_usage_effectiveness is {power_usage_effectiveness}, but a building draws at least 1")
    when = scenario or Scenario()
    hours = 1.0 / (device.flops_per_second * utilisation) / SECONDS_PER_HOUR
    better = _doublings(when.after(device.year), when.efficiency_doubling_years)
    kwh = hours * device.watts / 1000.0 * power_usage_effectiveness / better
    grams = kwh * grid.grams_per_kwh * (1.0 - when.grid_decline_per_year) ** when.after(grid.year)
    usd = None
    if device.usd_per_hour is not None:
        usd = hours * device.usd_per_hour / _doublings(when.after(device.price_year), when.price_halving_years)
    return Rates(hours, kwh, grams, usd, _basis(device, grid, utilisation, power_usage_effectiveness, when))


def device_named(name: str) -> Device:
    """Look a device up.

    Raises:
        ValueError: If there is none of that name.
    """
    return _named(name, DEVICES, [device.name for device in DEVICES], "device")


def grid_named(region: str) -> Grid:
    """Look a region's grid up.

    Raises:
        ValueError: If there is none of that name.
    """
    return _named(region, GRIDS, [grid.region for grid in GRIDS], "region")


def _named(name: str, entries: Iterable[Entry], names: list[str], kind: str) -> Entry:
    for entry, known in zip(entries, names, strict=True):
        if known.lower() == name.lower():
            return entry
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no {kind} {name!r}{hint} ({kind}s: {', '.join(names)})")


def _doublings(years: float, period: float | None) -> float:
    return 1.0 if period is None else 2.0 ** (years / period)


def _basis(device: Device, grid: Grid, utilisation: float, effectiveness: float, when: Scenario) -> str:
    price = "no price known"
    if device.usd_per_hour is not None:
        price = f"{device.usd_per_hour:g} USD an hour ({device.price_source}, {device.price_year:g})"
    words = (
        f"{device.name} at {utilisation:.0%} of {device.flops_per_second:.3g} FLOP/s {device.precision} "
        f"({device.source}), {device.watts:g} W, PUE {effectiveness:g}, {price}; "
        f"{grid.region} {grid.grams_per_kwh:g} g CO2/kWh ({grid.source}, {grid.year})"
    )
    if when.year is None:
        return f"{words}; no change over time"
    changes = [f"bought in {when.year:g}"]
    if when.price_halving_years:
        changes.append(f"price of a FLOP halves every {when.price_halving_years:g} years")
    if when.efficiency_doubling_years:
        changes.append(f"FLOP per joule double every {when.efficiency_doubling_years:g} years")
    if when.grid_decline_per_year:
        changes.append(f"grid falls {when.grid_decline_per_year:.1%} a year")
    return f"{words}; {', '.join(changes)}"
