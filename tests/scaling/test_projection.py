"""Projections of fitted laws: the number, its interval, and when there is none."""

import math

import numpy as np
import pandas as pd
import pytest

from scaling import bootstrap, draw_runs
from scaling.literature import published_results
from scaling.literature.history import compute_growth, hardware_growth, split_growth
from scaling.prices import DEVICES, Scenario, device_named, grid_named, rates
from scaling.projection import ProjectionStatus, project, projection_costs


@pytest.fixture(scope="module")
def power():
    """Runs of error = 100 C^-0.25 with a little noise, over four decades."""
    generator = np.random.default_rng(1)
    cost = np.geomspace(1e10, 1e14, 20)
    error = 100 * cost**-0.25 * np.exp(0.02 * generator.standard_normal(20))
    return bootstrap(pd.DataFrame({"train_flops": cost, "test_error": error}), "power", n_resamples=300)


def test_target_of_a_known_law_is_reached_at_its_true_cost(power):
    """100 C^-0.25 = 0.01 at C = 1e16, two decades beyond the data."""
    (found,) = project(power, [0.01])

    assert found.status is ProjectionStatus.INFORMATIVE
    assert found.low < 16.0 < found.high
    assert found.log10_cost == pytest.approx(16.0, abs=0.1)
    assert found.decades_beyond == pytest.approx(found.log10_cost - 14.0)
    assert found.log10_cost == pytest.approx(math.log10(power.fit.inverse(0.01)))


def test_farther_targets_have_wider_intervals(power):
    """The uncertainty of the slope counts per decade."""
    widths = [one.high - one.low for one in project(power, [0.05, 0.01, 0.001, 0.0001])]

    assert widths == sorted(widths)


def test_an_irreducible_error_makes_a_target_unreachable():
    """Below E there is no cost, whatever the law's slope."""
    cost = np.geomspace(1e3, 1e9, 30)
    runs = pd.DataFrame({"train_flops": cost, "test_error": 0.1 + 5 * cost**-0.4})
    found = project(bootstrap(runs, "saturating", n_resamples=50), [0.2, 0.05])

    assert found[0].status is ProjectionStatus.INFORMATIVE
    assert found[1].status is ProjectionStatus.UNREACHABLE
    assert math.isnan(found[1].log10_cost)


def test_a_fit_that_may_not_be_quoted_projects_nothing():
    """Machine translation to German: the slope of the published points is not known."""
    rows = published_results().query("benchmark == 'WMT14 EN-DE'")
    intervals = bootstrap(
        rows[["hardware_burden_flop", "error", "work"]], "power", cost="hardware_burden_flop", error="error",
        cluster="work", n_resamples=50,
    )  # fmt: skip
    (found,) = project(intervals, [0.5])

    assert found.status is ProjectionStatus.REFUSED
    assert found.reason == intervals.fit.reason
    assert not found.quoted
    assert projection_costs(found, rates(device_named("V100"), grid_named("World")))["log10"].isna().all()


def test_thirteen_points_do_not_give_the_cost_of_five_per_cent_error():
    """Whoever asks is told how wide it is instead of a number."""
    rows = published_results().query("benchmark == 'ImageNet' and hardware_burden_flop > 0")
    intervals = bootstrap(
        rows[["hardware_burden_flop", "error"]], "power", cost="hardware_burden_flop", error="error", n_resamples=400,
    )  # fmt: skip
    (found,) = project(intervals, [0.05])

    assert found.status in (ProjectionStatus.UNINFORMATIVE, ProjectionStatus.REFUSED)
    assert math.isnan(found.log10_cost)


def test_surface_is_projected_along_the_optimal_split():
    """A grid search over sizes finds the same least cost."""
    truth = {"E": 0.02, "A": 3.0, "alpha": 0.5, "B": 2.0, "beta": 0.4}
    size, data = (values.ravel() for values in np.meshgrid(10.0 ** np.arange(3, 7), 10.0 ** np.arange(2, 6)))
    runs = draw_runs("size_and_data", truth, {"size": size, "data": data}, seed_noise=0.005, seed=3)
    intervals = bootstrap(runs, "size_and_data", n_resamples=60)
    (found,) = project(intervals, [0.06], flops_per_param_example=6)

    parameters = intervals.fit.parameters
    sizes = np.geomspace(1e2, 1e10, 400_001)
    left = 0.06 - parameters["E"] - parameters["A"] * sizes ** -parameters["alpha"]
    needed = np.full(sizes.size, np.inf)
    needed[left > 0] = 6 * sizes[left > 0] * (parameters["B"] / left[left > 0]) ** (1 / parameters["beta"])
    assert found.log10_cost == pytest.approx(np.log10(needed.min()), abs=1e-6)
    with pytest.raises(ValueError, match="give flops_per_param_example"):
        project(intervals, [0.06])


def test_costs_follow_from_device_and_grid(power):
    """By hand: hours of the device, its watts, the building's, the grid's grams, the price."""
    (found,) = project(power, [0.01])
    device, grid = device_named("V100"), grid_named("France")
    table = projection_costs(found, rates(device, grid, utilisation=0.5)).set_index("unit")["log10"]

    hours = 10**found.log10_cost / (0.5 * 15.7e12) / 3600
    assert 10 ** table["device-hours"] == pytest.approx(hours)
    assert 10 ** table["kWh"] == pytest.approx(hours * 0.3 * 1.58)
    assert 10 ** table["g CO2"] == pytest.approx(hours * 0.3 * 1.58 * 56)
    assert 10 ** table["USD"] == pytest.approx(hours * 3.06)


def test_scenarios_change_what_they_name():
    """Ten years of halving prices, doubling efficiency and a falling grid, each by its own factor."""
    device, grid = device_named("H100"), grid_named("World")
    now = rates(device, grid, scenario=Scenario(year=2033))
    later = rates(
        device, grid,
        scenario=Scenario(2033, price_halving_years=2, efficiency_doubling_years=11 / 3, grid_decline_per_year=0.03),
    )  # fmt: skip

    assert later.usd == pytest.approx(now.usd / 2 ** ((2033 - 2024) / 2))
    assert later.kwh == pytest.approx(now.kwh / 8)
    assert later.grams_co2 == pytest.approx(now.grams_co2 / 8 * 0.97**10)
    assert later.device_hours == now.device_hours


def test_a_grid_with_two_dates_has_a_trend():
    """Germany: 622 g in 1990, 381 g in 2023."""
    assert 622 * (1 - grid_named("germany").decline_per_year) ** 33 == pytest.approx(381)
    assert grid_named("World").decline_per_year is None


def test_every_device_says_where_its_numbers_come_from():
    """A price has a date and a source."""
    for device in DEVICES:
        assert device.source
        assert (device.usd_per_hour is None) == (device.price_year is None) == (not device.price_source)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: device_named("V10"), "there is no device 'V10'; did you mean 'V100'?"),
        (lambda: grid_named("Atlantis"), "there is no region 'Atlantis'"),
        (lambda: rates(DEVICES[0], grid_named("World"), utilisation=2), "utilisation is 2, but"),
        (lambda: rates(DEVICES[0], grid_named("World"), power_usage_effectiveness=0.5), "power_usage_effectiveness is"),
        (lambda: Scenario(price_halving_years=2), "no year is given"),
        (lambda: Scenario(2030, price_halving_years=-2), "price_halving_years is -2"),
        (lambda: Scenario(2030, grid_decline_per_year=2), "grid_decline_per_year is 2"),
    ],
)
def test_wrong_input_is_refused(call, message):
    """With the value and what is allowed."""
    with pytest.raises(ValueError, match=r"\w+") as caught:
        call()

    assert message in str(caught.value)


def test_wrong_targets_are_refused(power):
    """An error is above 0, growth above 1."""
    with pytest.raises(ValueError, match="the error target is 0"):
        project(power, [0.0])
    with pytest.raises(ValueError, match="growth_per_year is 1"):
        project(power, [0.01])[0].years(1.0, 14.0)


def test_years_are_decades_over_the_pace(power):
    """Ten times a year: a year per decade."""
    (found,) = project(power, [0.01])

    assert found.years(10.0, 14.0)[0] == pytest.approx(found.log10_cost - 14.0)
    assert found.years(2.0, 14.0)[0] == pytest.approx((found.log10_cost - 14.0) / math.log10(2))


def test_alexnet_to_nasnet_is_the_published_growth():
    """1,095 times the computation, 6.02 times from hardware; both were cut off, not rounded."""
    split = split_growth(published_results(), "AlexNet", "NASNetA")

    assert math.floor(split.total) == 1095
    assert math.floor(100 * split.faster_chips) == 602
    assert split.faster_chips * split.more_chips * split.longer_runs == pytest.approx(split.total)
    assert split.total == pytest.approx(1.645056e12 / 1.501632e9)


def test_growth_per_year_of_a_known_series():
    """Tripling each year."""
    found = hardware_growth(np.array([2010, 2012, 2015, 2016]), 3.0 ** np.array([0.0, 2, 5, 6]))

    assert found.factor_per_year == pytest.approx(3.0)
    assert compute_growth(published_results(), "ImageNet").n == 13


def test_a_split_needs_known_hardware():
    """A result without devices and hours is refused by name."""
    with pytest.raises(ValueError, match="the hardware behind 'VGG19' is not known"):
        split_growth(published_results(), "VGG19", "NASNetA")
    with pytest.raises(ValueError, match="0 results of ImageNet begin with 'Nothing'"):
        split_growth(published_results(), "Nothing", "NASNetA")
