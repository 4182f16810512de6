"""Tuned settings are chosen on validation, never on test."""

import pandas as pd
import pytest

from scaling.selection import choose_on_validation


def runs(**changes):
    """Two learning rates in one tuning cell, two seeds each, and a cell without a rival."""
    table = {
        "trial_id": list("abcdef"),
        "cell": ["slow", "slow", "fast", "fast", "alone", "alone"],
        "tuning_cell": ["one"] * 4 + ["two"] * 2,
        "status": ["finished"] * 6,
        "validation_error": [0.20, 0.30, 0.22, 0.26, 0.9, 0.9],
        "test_error": [0.10, 0.10, 0.30, 0.30, 0.9, 0.9],
    }
    return pd.DataFrame({**table, **changes})


def test_the_cell_with_the_least_mean_validation_error_is_kept():
    """Though the other's test error is a third of it."""
    kept, left = choose_on_validation(runs())

    assert list(kept["trial_id"]) == ["c", "d", "e", "f"]
    assert left == ("a", "b")


def test_a_cell_with_a_diverged_seed_loses():
    """A rate that diverges now and then is not the best one."""
    kept, _ = choose_on_validation(
        runs(status=["finished", "finished", "finished", "diverged", "finished", "finished"])
    )

    assert list(kept["cell"].unique()) == ["slow", "alone"]


def test_without_rivals_nothing_is_left_out():
    """A table without the column, and one in which each group has one cell."""
    assert choose_on_validation(runs().drop(columns="tuning_cell"))[1] == ()
    assert choose_on_validation(runs(tuning_cell=["one", "one", "two", "two", "three", "three"]))[1] == ()


def test_rivals_without_a_validation_measure_are_refused():
    """Choosing on test is not a fallback."""
    with pytest.raises(ValueError, match="no 'validation_error' to choose by"):
        choose_on_validation(runs().drop(columns="validation_error"))
