"""Figures: functions that take axes and return them, in one style, each with its data as a table."""

from scaling.figures.allocation import allocation_table, plot_allocation, plot_isoflop
from scaling.figures.cost import REFERENCE_EXPONENTS, error_against_cost_table, plot_error_against_cost
from scaling.figures.coverage import coverage_table, plot_coverage
from scaling.figures.curves import plot_training_curves
from scaling.figures.energy import energy_table, plot_energy
from scaling.figures.fan import fan_table, plot_fan
from scaling.figures.grid import plot_heat_map, plot_slices, slice_table
from scaling.figures.holdout import backtest_table, plot_backtest
from scaling.figures.style import PALETTE, axis_label, column_kind, drawable, log_axis, save_figure, style
from scaling.figures.techniques import plot_technique_frontiers, technique_frontiers

__all__ = [
    "PALETTE",
    "REFERENCE_EXPONENTS",
    "allocation_table",
    "axis_label",
    "backtest_table",
    "column_kind",
    "coverage_table",
    "drawable",
    "energy_table",
    "error_against_cost_table",
    "fan_table",
    "log_axis",
    "plot_allocation",
    "plot_backtest",
    "plot_coverage",
    "plot_energy",
    "plot_error_against_cost",
    "plot_fan",
    "plot_heat_map",
    "plot_isoflop",
    "plot_slices",
    "plot_technique_frontiers",
    "plot_training_curves",
    "save_figure",
    "slice_table",
    "style",
    "technique_frontiers",
]
