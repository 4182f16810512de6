"""The columns of the runs table: their names with units, what they hold, and what people call them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "count", "fraction", "nonnegative", "positive"]

STATUSES = ("finished", "diverged", "failed", "stopped")
ENERGY_SOURCES = ("measured", "estimated", "unknown")
# Columns of a phase, such as `train_flops_teacher`, and their units.
PHASE_PREFIXES = {"train_flops_": "FLOP", "energy_joules_": "J", "wall_seconds_": "s", "peak_memory_bytes_": "B"}
# Columns that tell cells apart where there is no column `cell`.
CELL_SETTINGS = ("dataset", "family", "technique", "width", "depth", "n_train", "epochs", "learning_rate")


@dataclass(frozen=True)
class Column:
    """What one column of the runs table holds."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    allowed: tuple[str, ...] = ()


COLUMNS: tuple[Column, ...] = (
    Column("trial_id", "text", "", "hash of everything that changes the result"),
    Column("cell", "text", "", "hash of the same without the seed: the unit that is resampled"),
    Column("tuning_cell", "text", "", "hash without the learning rate either: cells that validation chooses from"),
    Column("sweep", "text", "", "the sweep that ran the trial"),
    Column("dataset", "text", "", "data set"),
    Column("family", "text", "", "model family"),
    Column("technique", "text", "", "efficiency technique, `baseline` for none"),
    Column("seed", "count", "", "seed of initialisation, subset and order"),
    Column("status", "text", "", "how the trial ended", STATUSES),
    Column("reason", "text", "", "why it ended so, empty when finished"),
    Column("note", "text", "", "what a reader must know of a finished trial, such as a layer without weights"),
    Column("width", "count", "", "width of the model"),
    Column("depth", "count", "", "depth of the model"),
    Column("n_params", "count", "", "trainable parameters, without those that the technique cut away"),
    Column("n_train", "count", "examples", "training examples"),
    Column("n_test", "count", "examples", "test examples"),
    Column("n_shift_test", "count", "examples", "examples behind shift_error, where they are not n_test"),
    Column("epochs", "positive", "", "passes over the training examples"),
    Column("learning_rate", "positive", "", "peak learning rate at the base width"),
    Column("test_error", "fraction", "", "share of test examples misclassified"),
    Column("test_loss", "nonnegative", "nat", "mean cross-entropy on test"),
    Column("validation_error", "fraction", "", "share of validation examples misclassified"),
    Column("validation_loss", "nonnegative", "nat", "mean cross-entropy on validation"),
    Column("shift_error", "fraction", "", "error on the shifted test set"),
    Column("model_bytes", "count", "B", "size of the model as deployed"),
    Column("train_flops", "nonnegative", "FLOP", "everything spent to get this model"),
    Column("sparse_train_flops", "nonnegative", "FLOP", "the same on an ideal sparse machine; empty when dense"),
    Column("inference_flops", "nonnegative", "FLOP", "one forward pass of one example"),
    Column("sparse_inference_flops", "nonnegative", "FLOP", "the same on an ideal sparse machine; empty when dense"),
    Column("inference_seconds", "positive", "s", "measured, median over batches of inference_batch"),
    Column("inference_batch", "count", "examples", "batch size of inference_seconds"),
    Column("energy_joules", "nonnegative", "J", "energy of the trial; empty when unknown"),
    Column("energy_source", "text", "", "where the joules come from", ENERGY_SOURCES),
    Column("carbon_grams", "nonnegative", "g", "CO2-equivalent of the energy"),
    Column("carbon_intensity_g_per_kwh", "nonnegative", "g/kWh", "intensity of the grid"),
    Column("region", "text", "", "where the energy was drawn"),
    Column("wall_seconds", "nonnegative", "s", "duration of the trial"),
    Column("peak_memory_bytes", "count", "B", "most memory that any phase had in use"),
    Column("device", "text", "", "processor that did the arithmetic"),
    Column("peak_flops_per_second", "positive", "FLOP/s", "peak rate of the device share used"),
    Column("utilisation", "nonnegative", "", "train_flops over what the peak rate would have done"),
    Column("hardware_burden_flop", "nonnegative", "FLOP", "devices x peak rate x seconds"),
)
BY_NAME = {column.name: column for column in COLUMNS}

# What people call the columns; the others read well with their underscores taken out.
_LABELS = {
    "train_flops": "training compute",
    "inference_flops": "inference compute per example",
    "shift_error": "error under shift",
    "energy_joules": "energy",
    "carbon_grams": "carbon (CO2-equivalent)",
    "wall_seconds": "duration",
    "inference_seconds": "latency per example",
    "n_params": "parameters",
    "n_train": "training examples",
    "hardware_burden_flop": "hardware burden",
    "peak_memory_bytes": "peak memory",
}


def label(name: str) -> str:
    """What people call a column, in sentences and on axes, without its unit."""
    return _LABELS.get(name, name.replace("_", " "))


def column(name: str) -> Column:
    """Describe a column, those of single phases such as ``train_flops_<phase>`` included.

    Raises:
        ValueError: If the runs table knows no such column; the nearest name is given.
    """
    if name in BY_NAME:
        return BY_NAME[name]
    for prefix, unit in PHASE_PREFIXES.items():
        if name.startswith(prefix):
            return Column(name, "nonnegative", unit, f"{unit} of the phase {name.removeprefix(prefix)}")
    raise ValueError(f"the runs table knows no column {name!r}{did_you_mean(name, BY_NAME)}")


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """The question for the nearest of the names that there are, behind a semicolon; empty if none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
