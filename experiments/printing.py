"""What the command line prints: tables and sentences, for a terminal or a log."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from experiments.wording import bytes_text, count_text, energy_text, flops_text, seconds_text
from scaling.words import counted

if TYPE_CHECKING:
    from experiments.plan import PlanLine
    from experiments.results import Analysis
    from experiments.running import SweepPlan
    from scaling.calibrate import Calibration

FRONTIER_ROWS = 20
# Longer cells of several words are sentences, and may be broken over lines.
LONGEST_UNBROKEN = 34


def print_plan(plan: SweepPlan, console: Console) -> None:
    """Print what a sweep would cost, a line per technique and one for all."""
    priced = any(line.money_left is not None for line in plan.lines)
    rows = [_plan_row(line, plan.currency if priced else None) for line in plan.lines]
    table = Table(title=f"plan of {plan.name}", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "technique" else "right", overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    console.print(
        f"{counted(plan.workers, 'trial')} side by side on {plan.device}; time and energy from "
        f"{plan.calibration_seconds:.0f} s of measured steps, as busy as the machine was then."
    )
    if plan.elsewhere:
        console.print(
            "The trials are given GPUs and this machine has none: their time, energy and money are unknown, those "
            "above are of this machine's processor, and memory was not checked."
        )
    left = [trial for trial in plan.trials if not trial["done"]]
    if left:
        console.print(f"Ray's start, the fits and the report take some {plan.overhead_seconds:.0f} s more.")
    if any(trial["flops_here"] < trial["flops"] for trial in left):
        console.print(
            "What trials share, such as a teacher, is charged to each of them and made once per machine: FLOP to do, "
            "time, energy and money count it once."
        )
    if left and not priced:
        console.print("No money, as no price is given: --set energy.price_per_hour=0.5 or energy.price_per_kwh=0.3.")


def _plan_row(line: PlanLine, currency: str | None) -> dict[str, str]:
    """A line of the plan by column; money only where there is a price."""
    money = "unknown" if line.money_left is None else f"{line.money_left:.2g} {currency}"
    return {
        "technique": line.name,
        "trials": str(line.n_trials),
        "done": str(line.n_done),
        "parameters": f"{count_text(line.n_params[0])} to {count_text(line.n_params[1])}",
        "FLOP charged": flops_text(line.flops),
        "FLOP to do": flops_text(line.flops_left),
        "memory of a trial": bytes_text(line.memory_bytes),
        "time left": seconds_text(line.seconds_left),
        "energy left": "unknown" if line.joules_left is None else energy_text(line.joules_left),
        **({} if currency is None else {"money left": money}),
    }


def print_analysis(analysis: Analysis, folder: Path, console: Console) -> None:
    """Print the frontier, the laws, the answer and where everything lies."""
    from experiments.findings import fits_view, frontier_view

    print_frame(frontier_view(analysis.front, analysis.settings), "frontier", console, limit=FRONTIER_ROWS)
    print_frame(fits_view(analysis.fits), "laws", console)
    for sentence in analysis.sentences:
        console.print(sentence)
    console.print(f"runs    {folder / 'runs.csv'}\nfits    {folder / 'fits.json'}\nreport  {analysis.report}")


def print_runs(table: pd.DataFrame, limit: int, console: Console) -> None:
    """Print the first rows of a runs table."""
    print_frame(table, counted(len(table), "run"), console, limit=limit)


def print_calibration(found: Calibration, console: Console) -> None:
    """Print how often the intervals of a design held a known truth."""
    print_frame(found.table, f"law {found.law}, {counted(found.n_sweeps, 'synthetic sweep')}", console)
    endings = ", ".join(f"{number} {status}" for status, number in found.statuses.items())
    console.print(
        f"Noise of log error: {found.seed_noise:.3g} between seeds, {found.cell_noise:.3g} between cells. "
        f"How the fits ended: {endings}; {found.n_failed} gave no interval. The columns coverage_50 to coverage_95 "
        "are the shares of sweeps whose interval held the truth."
    )


def print_frame(frame: pd.DataFrame, title: str, console: Console, *, limit: int | None = None) -> None:
    """Print a table; rows beyond `limit` are counted.

    Cells are not broken over lines unless they are sentences, so that an id can be copied: columns for which the
    terminal is too narrow follow in further tables, which begin with the first column again.
    """
    shown = frame.head(limit or len(frame))
    columns = [_column(shown, place) for place in range(frame.shape[1])]
    for number, block in enumerate(_blocks(columns, console.width)):
        table = Table(title=title if number == 0 else f"{title}, continued", title_justify="left")
        for column in block:
            table.add_column(column.header, justify=column.justify, no_wrap=not column.is_prose, overflow="fold")
        for cells in zip(*(column.cells for column in block), strict=True):
            table.add_row(*cells)
        console.print(table)
    if limit is not None and len(frame) > limit:
        console.print(f"... and {counted(len(frame) - limit, 'more row')}")


@dataclass(frozen=True)
class _Column:
    """A column as it is printed, and the width that it needs."""

    header: str
    cells: list[str]
    justify: Literal["left", "right"]
    is_prose: bool
    width: int


def _column(frame: pd.DataFrame, place: int) -> _Column:
    values = frame.iloc[:, place]
    cells = [_cell(value) for value in values.tolist()]
    is_prose = any(len(cell) > LONGEST_UNBROKEN and " " in cell for cell in cells)
    width = max((LONGEST_UNBROKEN if is_prose and " " in cell else len(cell) for cell in cells), default=0)
    # A header of several words stands on several lines rather than widen its column.
    words = max(map(len, str(frame.columns[place]).split()), default=0)
    header = textwrap.fill(str(frame.columns[place]), max(width, words, 1), break_on_hyphens=False)
    justify: Literal["left", "right"] = "right" if pd.api.types.is_numeric_dtype(values) else "left"
    return _Column(header, cells, justify, is_prose, max(width, words))


def _blocks(columns: list[_Column], room: int) -> list[list[_Column]]:
    """Columns table by table, as many in each as there is room for, the first column in all."""
    blocks: list[list[_Column]] = []
    for column in columns[1:]:
        # A line beside every column and a blank on either side of its cells.
        needed = sum(one.width + 3 for one in (*blocks[-1], column)) + 1 if blocks else room + 1
        if needed > room:
            blocks.append([columns[0]])
        blocks[-1].append(column)
    return blocks or [columns]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
