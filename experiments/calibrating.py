"""Calibration of a design: of a sweep that was run, of anybody's table, or of a sweep file before it is run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.calibrate import Calibration, calibrate
from scaling.laws import get_law
from scaling.progress import Progress, silent
from scaling.tracked import RunsSource


def calibrate_design(
    path: RunsSource,
    *,
    law: str,
    truth: str | None = None,
    noise: float | None = None,
    n_sweeps: int = 200,
    data_folder: Path | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Draw synthetic sweeps on a design and count how often the intervals hold their truth.

    A sweep that was run is judged by its frontier, as it is fitted. A sweep file has no errors yet, so every cell
    counts, and truth and noise must be given.

    Raises:
        ValueError: If there is nothing to read, the law is unknown, or a sweep file comes without truth and noise.
    """
    parameters = None if truth is None else _read_truth(truth, law)
    if isinstance(path, Path) and path.suffix in (".yaml", ".yml"):
        if parameters is None or noise is None:
            raise ValueError(
                f"{path} has no errors yet, so give the truth and its noise, such as --truth "
                f"{_example(law)} --noise 0.05"
            )
        design = _planned_runs(path, data_folder)
        return calibrate(
            design, law, parameters=parameters, seed_noise=noise, cell_noise=0.0, n_sweeps=n_sweeps, progress=progress
        )
    from experiments.results import read_results

    runs, sweep, _ = read_results(path)
    columns: dict[str, Any] = {} if sweep is None else {"cost": sweep.fit.cost, "error": sweep.fit.error}
    return calibrate(
        runs, law, parameters=parameters, seed_noise=noise, n_sweeps=n_sweeps, progress=progress,
        frontier=len(get_law(law).roles) == 1, **columns,
    )  # fmt: skip


def _planned_runs(path: Path, data_folder: Path | None) -> pd.DataFrame:
    """The runs table of a sweep that is only planned: everything but what it will find."""
    from experiments.plan import check_sweep, plan_trials
    from experiments.running import machine_for
    from experiments.sweep import load_sweep

    sweep = load_sweep(path)
    machine = machine_for(sweep, data_folder)
    check_sweep(sweep, machine)
    return pd.DataFrame(
        {
            "trial_id": trial.spec.trial_id,
            "cell": trial.spec.cell,
            "seed": trial.spec.seed,
            "width": trial.spec.width,
            "depth": trial.spec.depth,
            "n_train": trial.spec.n_train,
            "epochs": trial.spec.epochs,
            "n_params": trial.cost.n_params,
            "train_flops": trial.flops,
        }
        for trial in plan_trials(sweep, machine)
    )


def _read_truth(text: str, law: str) -> dict[str, float]:
    names = tuple(parameter.name for parameter in get_law(law).parameters)
    found: dict[str, float] = {}
    for part in text.split(","):
        name, separator, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            separator = ""
        if not separator or not math.isfinite(found[name.strip()]):
            raise ValueError(f"--truth holds {part!r}, which is not of the form name=number; give {_example(law)}")
    if set(found) != set(names):
        raise ValueError(f"--truth names {', '.join(found)}, but the law {law!r} has {', '.join(names)}")
    return found


def _example(law: str) -> str:
    return ",".join(f"{parameter.name}=..." for parameter in get_law(law).parameters)


def draw_calibration(found: Calibration, folder: Path) -> list[Path]:
    """Draw the coverage of the intervals, with its numbers as csv; return the files."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from scaling import figures

    with rc_context(figures.style()):
        figure = Figure(figsize=(5.6, 5.0))
        figures.plot_coverage(figure.add_subplot(), found)
        return figures.save_figure(figure, figures.coverage_table(found), folder, "coverage")
