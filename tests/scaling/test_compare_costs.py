"""What is charged: phases, money, lifetimes, sparse twins; unknown stays unknown."""

import numpy as np
import pandas as pd
import pytest

from scaling.compare.costs import Charges, charge, phases


def table():
    """Two trials with a teacher and one without, by hand."""
    return pd.DataFrame({
        "technique": ["distillation", "distillation", "baseline"],
        "train_flops": [30.0, 60.0, 10.0],
        "train_flops_teacher": [20.0, 40.0, np.nan],
        "train_flops_train": [10.0, 20.0, 10.0],
        "inference_flops": [1.0, 2.0, 1.0],
        "energy_joules": [3.6e6, 7.2e6, 1.8e6],
        "energy_joules_teacher": [1.8e6, np.nan, np.nan],
        "carbon_grams": [100.0, 200.0, 50.0],
        "wall_seconds": [3600.0, 7200.0, 1800.0],
        "wall_seconds_teacher": [1800.0, 3600.0, np.nan],
        "sparse_train_flops": [np.nan, 55.0, np.nan],
        "sparse_inference_flops": [np.nan, 0.5, np.nan],
    })  # fmt: skip


def test_nothing_is_changed_by_no_charges():
    """The totals are the runs' own, and costs that nobody can know are named."""
    found = charge(table(), Charges())
    charged, reasons = found.table, found.missing

    assert charged["train_flops"].tolist() == [30, 60, 10]
    assert charged["carbon_grams"].tolist() == [100, 200, 50]
    assert set(reasons) == {
        "inference_seconds", "money", "n_params", "model_bytes", "lifetime", "lifetime_joules", "sparse_lifetime",
    }  # fmt: skip
    assert "price" in reasons["money"]
    assert "uses" in reasons["lifetime"]


def test_a_phase_left_out_comes_off_every_total_that_knows_it():
    """An energy whose share is not known is emptied instead of half subtracted, and so is its carbon."""
    found = charge(table(), Charges(leave_out=("teacher",)))
    charged, partly = found.table, found.partly

    assert charged["train_flops"].tolist() == [10, 20, 10]
    assert charged["wall_seconds"].tolist() == [1800, 3600, 1800]
    assert charged["energy_joules"].tolist() == pytest.approx([1.8e6, np.nan, 1.8e6], nan_ok=True)
    assert charged["carbon_grams"].tolist() == pytest.approx([50, np.nan, 50], nan_ok=True)
    assert "teacher" in partly["energy_joules"]
    assert partly["carbon_grams"] == partly["energy_joules"]
    assert "energy_joules" not in found.missing


def test_a_phase_is_spread_over_its_uses():
    """A quarter of the teacher on each of four pupils."""
    charged = charge(table(), Charges(spread={"teacher": 4})).table

    assert charged["train_flops"].tolist() == [15, 30, 10]


def test_money_is_hours_and_electricity():
    """One hour at 2 and one kWh at 0.3."""
    charged = charge(table(), Charges(price_per_hour=2.0, price_per_kwh=0.3)).table

    assert charged["money"].tolist() == pytest.approx([2.3, 4.6, 1.15])


def test_a_lifetime_is_training_and_all_uses():
    """In FLOP, and in joules at the trial's own joules per FLOP."""
    charged = charge(table(), Charges(uses=100)).table

    assert charged["lifetime"].tolist() == [130, 260, 110]
    assert charged["lifetime_joules"].tolist() == pytest.approx([3.6e6 * 130 / 30, 7.2e6 * 260 / 60, 1.8e6 * 11])


def test_a_sparse_machine_does_dense_work_at_the_dense_cost():
    """Empty sparse cells are dense trials, not unknown ones; without any sparse trial there is no such cost."""
    charged = charge(table(), Charges(uses=100, leave_out=("teacher",))).table
    reasons = charge(table().drop(columns=["sparse_train_flops", "sparse_inference_flops"]), Charges()).missing

    assert charged["sparse_train_flops"].tolist() == [10, 15, 10]
    assert charged["sparse_inference_flops"].tolist() == [1, 0.5, 1]
    assert charged["sparse_lifetime"].tolist() == [110, 65, 110]
    assert reasons["sparse_train_flops"] == "no trial is sparse"


def test_phases_are_those_of_the_columns():
    """Total columns are no phases."""
    assert phases(table()) == ["teacher", "train"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spread": {"search": 0.5}}, "spread over 0.5 uses"),
        ({"spread": {"search": 2}, "leave_out": ("search",)}, "both left out and spread"),
        ({"uses": -1.0}, "uses is -1.0"),
        ({"price_per_kwh": float("nan")}, "price_per_kwh is nan"),
    ],
)
def test_charges_that_make_no_sense_are_refused(arguments, message):
    """In one sentence."""
    with pytest.raises(ValueError, match=message):
        Charges(**arguments)


def test_what_was_charged_is_said_in_words():
    """Each departure from charging everything in full is a sentence; nothing asked for is nothing said."""
    charges = Charges(("teacher",), {"search": 10}, uses=1e6, price_per_hour=0.4, price_per_kwh=0.2)

    assert charges.sentences == (
        "Not charged: teacher.",
        "Shared: search by 10 uses.",
        "A lifetime has 1e+06 uses.",
        "Prices: 0.4 an hour, 0.2 a kWh.",
    )
    assert Charges().sentences == ()
