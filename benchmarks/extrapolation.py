"""Extrapolation on published learning curves: each law, the law chosen by backtest, and the average of laws.

Reads ``learning_curves_language.csv`` (Alabdulmohsin, Neyshabur and Zhai 2022) from the folder given:
rows with Training 1 are fitted, rows with Training 0 predicted, and the root mean square of
log(predicted) - log(measured) is averaged over the tasks of a domain.

With ``--keep 0.5`` only the cheapest half of the rows to fit are fitted, so that the same rows are predicted from
farther away: a split that nothing was chosen on.

Usage: python benchmarks/extrapolation.py FOLDER [--keep 0.5]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from scaling import choose_law

# Table 2 of the paper, the authors' own estimators.
PUBLISHED = {
    "M1 (paper)": {"NMT": 0.2217, "LM": 0.0140, "BB": 0.0148},
    "M2 (paper)": {"NMT": 0.0341, "LM": 0.0010, "BB": 0.0148},
    "M3 (paper)": {"NMT": 0.0471, "LM": 0.0023, "BB": 0.0087},
    "M4 (paper)": {"NMT": 0.0208, "LM": 0.0009, "BB": 0.0123},
}


def score(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Root mean square log error."""
    return float(np.sqrt(np.mean((np.log(predicted) - np.log(measured)) ** 2)))


def task_row(task: pd.DataFrame, keep: float) -> dict[str, float | str | None]:
    """Errors of every law on one task, fitted to (the cheapest part of) its first half alone."""
    known, later = task[task["Training"] == 1], task[task["Training"] == 0]
    known = known[known["seen"] <= known["seen"].quantile(keep)]
    seen, loss = later["seen"].to_numpy(dtype=float), later["loss"].to_numpy(dtype=float)
    choice = choose_law(known[["seen", "loss"]], cost="seen", error="loss")
    row: dict[str, float | str | None] = {
        name: score(fitted.predict(seen), loss) for name, fitted in choice.fits.items() if fitted.optimum is not None
    }
    return row | {
        "chosen": score(choice.fit.predict(seen), loss),
        "average": score(choice.predict(seen), loss),
        "choice": choice.best,
    }


def main() -> None:
    """Print one Markdown table per domain and one line per task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--keep", type=float, default=1.0, help="share of the rows to fit that are fitted, cheapest first"
    )
    options = parser.parse_args()
    source = options.folder / "learning_curves_language.csv"
    if not source.exists():
        raise SystemExit(f"there is no {source}; the data are published with arXiv:2209.06640")
    table = pd.read_csv(source).drop_duplicates().rename(columns={"Seen Examples": "seen", "Loss": "loss"})
    begin = time.perf_counter()
    tasks = {key: task_row(task, options.keep) for key, task in table.groupby(["Domain", "Task", "Model"])}
    rows = pd.DataFrame(tasks).T
    for (domain, name, model), row in rows.iterrows():
        print(f"{domain:4s} {name:20s} {model:14s} {row['choice']:12s} {row['chosen']:.4f}")
    means = rows.drop(columns="choice").astype(float).groupby(level=0).mean().T
    means = pd.concat([pd.DataFrame(PUBLISHED).T, means])[["NMT", "LM", "BB"]]
    print("\n| law | NMT | LM | BIG-Bench |\n|---|---|---|---|")
    for name, row in means.iterrows():
        print(f"| {name} | " + " | ".join(f"{value:.5f}" for value in row) + " |")
    print(f"\n{len(tasks)} tasks in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
