"""The Pareto front against brute force, ties, seeds, and size."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaling import draw_runs, pareto_front
from scaling.pareto import pareto_positions
from scaling.points import Points
from scaling.resample import front_counts

small = st.integers(0, 6).map(float)


def beaten(cost, error, i):
    """Whether some point has no more of both and less of one."""
    return bool(((cost <= cost[i]) & (error <= error[i]) & ((cost < cost[i]) | (error < error[i]))).any())


@given(arrays(float, (2, 12), elements=small))
def test_front_agrees_with_brute_force(values):
    """Every point kept is unbeaten, every point dropped is beaten, ties included."""
    cost, error = values
    kept = set(pareto_positions(cost, error).tolist())

    assert kept == {i for i in range(12) if not beaten(cost, error, i)}


@given(arrays(float, (2, 10), elements=small), arrays(float, (4, 10), elements=st.integers(0, 2).map(float)))
def test_front_of_each_resample_agrees_with_brute_force(values, counts):
    """The batched fronts keep the counts of the unbeaten points that are present."""
    points = Points(values[:1], values[1], np.full(10, np.nan), np.arange(10), np.ones(10), np.nan, (), ())

    result = front_counts(points, counts)

    for row, count in zip(result, counts, strict=True):
        present = np.flatnonzero(count)
        kept = present[pareto_positions(values[0][present], values[1][present])]
        expected = np.zeros(10)
        expected[kept] = count[kept]
        assert row.tolist() == expected.tolist()


def test_empty_front_of_nothing():
    """No points, no front."""
    assert pareto_positions(np.zeros(0), np.zeros(0)).size == 0


def test_front_is_of_cell_means_with_their_spread():
    """A lucky seed does not put its cell on the front."""
    runs = pd.DataFrame(
        {
            "cell": ["a", "a", "b", "b"],
            "seed": [0, 1, 0, 1],
            "train_flops": [1e9, 1e9, 2e9, 2e9],
            "test_error": [0.20, 0.22, 0.10, 0.40],
        }
    )

    front = pareto_front(runs)

    assert front["cell"].tolist() == ["a"]
    assert front["test_error"].iloc[0] == pytest.approx(0.21)
    assert front["n_seeds"].iloc[0] == 2
    assert front["spread"].iloc[0] == pytest.approx(np.std([0.20, 0.22], ddof=1))


def test_front_lists_what_it_left_out():
    """Unfinished runs are named."""
    runs = draw_runs("power", {"A": 30.0, "alpha": 0.2}, {"cost": [1e9, 1e10]})
    runs.loc[0, "status"] = "diverged"

    assert pareto_front(runs).attrs["left_out"] == (("synthetic-000000", "status diverged"),)


def test_error_of_zero_is_on_the_front():
    """A frontier needs no logarithm."""
    runs = pd.DataFrame({"train_flops": [1.0, 2.0], "test_error": [0.1, 0.0]})

    assert pareto_front(runs)["test_error"].tolist() == [0.1, 0.0]


def test_front_of_a_million_points_is_quick():
    """Half a second is the target; four are allowed here for a busy machine."""
    rng = np.random.default_rng(0)
    cost, error = rng.random((2, 1_000_000))
    begin = time.perf_counter()

    front = pareto_positions(cost, error)

    assert time.perf_counter() - begin < 4
    assert np.all(np.diff(error[front]) < 0)
