"""Values as a notebook shows them: short, with their numbers, and never somebody's markup."""

import numpy as np
import pandas as pd
import pytest

from scaling import (
    backtest,
    bootstrap,
    bootstrap_choice,
    choose_law,
    compare,
    draw_runs,
    fit,
    fit_conventions,
    quantile_frontier,
)
from scaling.calibrate import calibrate
from scaling.compare import Setting
from scaling.isoflop import isoflop_minima
from scaling.profile import profile_likelihood
from scaling.projection import project
from scaling.theory import compute_exponents, measured_exponents


@pytest.fixture(scope="module")
def runs():
    """Draws of a power law whose cost column bears a strange name."""
    table = draw_runs("power", {"A": 30.0, "alpha": 0.2}, {"cost": np.geomspace(1e8, 1e12, 12)})
    table["<b>"] = table["train_flops"]
    return table


@pytest.fixture(scope="module")
def values(runs):
    """One of each kind of value, by name."""
    found = bootstrap(runs, law="power", cost="<b>", n_resamples=60)
    choice = choose_law(runs, ["power", "exponential"])
    surface = draw_runs(
        "size_and_data", {"E": 0.05, "A": 2.0, "alpha": 0.3, "B": 2.5, "beta": 0.4},
        {"size": np.tile(np.geomspace(1e3, 1e5, 5).round(), 3), "data": np.repeat([1e3, 1e4, 1e5], 5)},
    )  # fmt: skip
    surface["budget"] = np.repeat([1e7, 1e8, 1e9], 15)
    compared = compare(two_ways(), costs=["train_flops"], setting=Setting(n_resamples=40))
    return {
        "interval": found.exponent,
        "profile": profile_likelihood(fit(runs, "power"), "alpha"),
        "quantile": quantile_frontier(runs, 0.5),
        "conventions": fit_conventions(runs, "power"),
        "exponents": compute_exponents(0.5, 0.25),
        "measured": measured_exponents(bootstrap(surface, "size_and_data", n_resamples=40)),
        "comparison": compared,
        "gain": compared.gains[0],
        "estimate": compared.gains[0].gain,
        "break_even": compared.break_evens[0],
        "fit": fit(runs, "power", cost="<b>"),
        "intervals": found,
        "backtest": backtest(runs, ["power", "exponential"], n_resamples=0),
        "choice": choice,
        "average": bootstrap_choice(runs, choice, n_resamples=30),
        "projection": project(found, [0.01])[0],
        "calibration": calibrate(runs, "power", n_sweeps=3, n_resamples=30),
        "isoflop": isoflop_minima(surface, error="test_error"),
    }


def two_ways():
    """A technique of a strange name that halves the training compute."""
    parts = []
    for name, factor in (("baseline", 1.0), ("<b>", 2.0)):
        truth = {"A": 30.0 * factor**-0.2, "alpha": 0.2}
        part = draw_runs("power", truth, {"cost": np.geomspace(1e8, 1e12, 8)}, seed_noise=0.01)
        parts.append(part.drop(columns=["cell", "trial_id"]).assign(
            technique=name, width=np.repeat(np.arange(1, 9), 3), inference_flops=1e4
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


VALUES = (
    "fit", "intervals", "backtest", "choice", "average", "projection", "calibration", "isoflop", "interval", "profile",
    "quantile", "conventions", "exponents", "measured", "comparison", "gain", "estimate", "break_even",
)  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_value_shows_itself_in_text_and_in_html(values, name):
    """A few lines a person reads, not a dump of arrays; names are escaped."""
    text, page = repr(values[name]), values[name]._repr_html_()

    assert 0 < text.count("\n") + 1 < 25
    assert "array(" not in text
    assert "object at 0x" not in text
    assert page.startswith("<")
    assert "<b>" not in page


def test_an_interval_and_a_projection_say_their_numbers(values):
    """To the digits that mean something."""
    interval = values["intervals"].exponent
    assert repr(interval) == f"[{interval.low:.4g}, {interval.high:.4g}] at 95% (bca)"

    projection = values["projection"]
    assert f"10^{projection.log10_cost:.2f} [10^{projection.low:.2f}, 10^{projection.high:.2f}]" in repr(projection)
    assert "decades beyond the data" in repr(projection)


def test_a_profile_says_on_which_side_the_data_bound_it(runs):
    """Of a power law's exponent, on both."""
    profile = profile_likelihood(fit(runs, "power"), "alpha")

    assert repr(profile) == f"Profile of alpha: {profile.interval!r}, bounded by the data on both sides"
