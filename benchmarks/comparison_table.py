"""The tables of docs/techniques/results.md: what each technique gained, and what its largest models are.

Run: ninthpower sweep experiments/sweeps/techniques.yaml
     python benchmarks/comparison_table.py results/techniques

Prints Markdown. The gains are those of `ninthpower compare`, which writes its files to the results folder too. Of the
models, those with the most examples and the greatest width are shown, as means over the seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from experiments.comparing import compare_runs
from scaling import read_runs

MODEL_COLUMNS = {
    "test_error": ("test error", "{:.4f}"),
    "shift_error": ("under shift", "{:.3f}"),
    "train_flops": ("training FLOP", "{:.3g}"),
    "inference_flops": ("inference FLOP", "{:.3g}"),
    "inference_seconds": ("latency [µs]", "{:.0f}"),
    "model_bytes": ("bytes", "{:,.0f}"),
}


def markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown; what is not known is a dash."""
    rows = [[str(name) for name in table.columns], ["---"] * len(table.columns)]
    rows += [["–" if cell is None or cell != cell else str(cell) for cell in row] for row in table.to_numpy()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def option_text(run: pd.Series) -> str:
    """Show the settings that set variants of one technique apart."""
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in run.dropna())


def largest_models(runs: pd.DataFrame, options: list[str]) -> pd.DataFrame:
    """Mean over the seeds of each technique and option, at the most examples and its greatest width there."""
    finished = runs[(runs["status"] == "finished") & (runs["n_train"] == runs["n_train"].max())]
    finished = finished[finished["width"] == finished.groupby("technique")["width"].transform("max")]
    finished = finished.assign(option=finished.reindex(columns=options).apply(option_text, axis=1))
    found = finished.groupby(["technique", "option"], sort=True)[list(MODEL_COLUMNS)].mean()
    found["inference_seconds"] *= 1e6
    for name, (title, form) in MODEL_COLUMNS.items():
        found[title] = [form.format(value) if value == value else None for value in found[name]]
    counts = finished.groupby(["technique", "option"]).size().rename("trials")
    return found.drop(columns=list(MODEL_COLUMNS)).join(counts).reset_index()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a results folder with a baseline and other techniques")
    parser.add_argument("--cost", nargs="*", default=None, help="costs to show; by default all that are known")
    parser.add_argument("--options", nargs="*", default=["density", "mode", "features"], help="that set variants apart")
    arguments = parser.parse_args()
    comparison = compare_runs([arguments.results], costs=arguments.cost, track=False).comparison
    print(markdown(comparison.overview))
    print()
    print(markdown(largest_models(read_runs(arguments.results), arguments.options)))
    print()
    for note in comparison.notes:
        print(note)


if __name__ == "__main__":
    main()
