"""Which runs are on a frontier: chosen by others than themselves, and smoothed no more than the noise allows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.compare import Arms, draw_arms
from scaling.compare.frontiers import crossfitted, on_frontier, smoothed, surface_design

CELLS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(CELLS)
def test_a_cell_is_on_the_frontier_if_none_beats_it(cells):
    """Brute force over all pairs: none cheaper as good, none of the same budget better."""
    cost, error = np.array(cells, dtype=float).T
    expected = [
        not any((c < cost[i] and e <= error[i]) or (c <= 1.1 * cost[i] and e < error[i]) for c, e in cells)
        for i in range(len(cells))
    ]

    assert on_frontier(cost, error).tolist() == expected


def part_of(errors, costs):
    """One arm, cells by seeds."""
    n_cells, n_seeds = np.shape(errors)
    return pd.DataFrame({
        "_cell": np.repeat([f"c{i}" for i in range(n_cells)], n_seeds),
        "seed": np.tile(np.arange(n_seeds), n_cells),
        "cost": np.repeat(np.asarray(costs, dtype=float), n_seeds),
        "error": np.ravel(errors),
    })  # fmt: skip


def test_a_run_is_chosen_by_the_other_seeds():
    """The second cell is on the frontier by its first seed alone: that seed does not enter, the others do."""
    chosen = crossfitted(part_of([[0.5, 0.5, 0.5], [0.1, 0.7, 0.7]], [1.0, 2.0]), "cost", "error")

    assert chosen.tolist() == [True, True, True, False, True, True]


def test_a_surface_without_noise_is_not_touched():
    """What the seeds agree on is no noise, however rough."""
    values = np.random.default_rng(0).standard_normal(30)
    design = surface_design([np.linspace(0, 1, 30)])

    assert smoothed(values, design, np.zeros(30)) == pytest.approx(values)


def test_pure_noise_is_drawn_onto_the_surface():
    """Scatter of the size that the seeds show goes away."""
    generator = np.random.default_rng(1)
    x = np.linspace(-1, 1, 60)
    truth = 1 - x + 0.5 * x**2
    noisy = truth + 0.1 * generator.standard_normal(60)
    found = smoothed(noisy, surface_design([x]), np.full(60, 0.02))

    assert np.std(found - truth) < 0.4 * np.std(noisy - truth)


def test_few_cells_have_no_surface():
    """Five cells are left as they are; a column that repeats another adds nothing."""
    x = np.linspace(0, 1, 30)

    assert surface_design([np.arange(5.0)]) is None
    assert surface_design([x, 2 * x + 1]).shape == (30, 3)


def test_the_choice_is_nearly_that_of_no_noise():
    """Of the runs chosen at 5% noise, most belong to cells of the true frontier, or to cells within 3% of it."""
    arms = Arms(gain=1.0)
    truth = draw_arms(Arms(gain=1.0, seed_noise=0.0))
    runs = draw_arms(arms, seed=1)
    part = runs[runs["technique"] == "baseline"].assign(_cell=lambda table: table["cell"])
    exact = truth[truth["technique"] == "baseline"].set_index("cell")["test_error"].groupby(level=0).first()
    chosen = part[crossfitted(part, "train_flops", "test_error")]
    cells = chosen.drop_duplicates("cell")
    least = [exact[part.loc[part["train_flops"] <= 1.1 * cost, "cell"].unique()].min() for cost in cells["train_flops"]]
    excess = exact[cells["cell"]].to_numpy() / np.array(least) - 1

    assert np.mean(excess < 0.03) > 0.8
