"""The figures of the page on the ninth power: files, numbers beside them, the same bytes each time."""

import math

import numpy as np
import pandas as pd
import pytest

from scaling.figure_one import simulate
from scaling.literature import published_results
from scaling.literature.figures import draw_exponents, draw_figure_one, draw_literature, resampled_band
from scaling.literature.regression import log_axes, rows_of


def test_published_figures_have_their_numbers_beside_them(tmp_path):
    """Every one of the 211 points is drawn, and the history has hardware in it."""
    paths = draw_literature(published_results(), tmp_path)

    assert [path.stem for path in paths[::3]] == ["figure_2_history", "figure_3_burden", "figure_3_per_pass"]
    burden, passes = (pd.read_csv(tmp_path / f"figure_3_{name}.csv") for name in ("burden", "per_pass"))
    assert (burden["what"] != "line").sum() == 101
    assert (passes["what"] != "line").sum() == 110
    history = pd.read_csv(tmp_path / "figure_2_history.csv")
    assert {"P100", "V100"} <= set(history["model"])


def test_figure_one_is_the_same_twice(tmp_path):
    """Same study, same bytes."""
    study = simulate(n_simulations=3, observations=(15, 1500), lasso_observations=(20, 40))
    once, twice = (draw_figure_one(study, tmp_path / name) for name in ("a", "b"))

    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in twice]


def test_exponents_without_an_upper_end_are_drawn(tmp_path):
    """Infinite and unknown ends do not stop the picture."""
    found = pd.DataFrame({
        "source": ["a", "a", "b"], "method": ["m", "n", "m"], "exponent": [9.0, math.nan, 13.0],
        "low": [7.0, 5.0, math.nan], "high": [math.inf, 6.0, math.nan],
    })  # fmt: skip

    assert all(path.stat().st_size > 0 for path in draw_exponents(found, tmp_path))


def test_band_agrees_with_students_interval_on_independent_results():
    """Many results with normal noise, each its own work."""
    generator = np.random.default_rng(3)
    x = generator.uniform(0, 4, 300)
    y = 0.1 * x + 0.2 * generator.standard_normal(300)
    low, high = resampled_band(x, y, pd.Series(np.arange(300).astype(str)), np.array([x.mean()]))

    assert (high - low)[0] / 2 == pytest.approx(1.97 * 0.2 / math.sqrt(300), rel=0.12)


def test_band_holds_the_line():
    """On the study's own points."""
    rows = rows_of(published_results(), "SQuAD 1.1", "burden")
    x, y = log_axes(rows)
    slope, level = np.polyfit(x, y, 1)
    grid = np.linspace(x.min(), x.max(), 5)
    low, high = resampled_band(x, y, rows["work"], grid)

    assert (low < level + slope * grid).all()
    assert (level + slope * grid < high).all()
