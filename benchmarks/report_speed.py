"""How long `ninthpower report` takes on a sweep of 1,000 trials: fits, figures and page.

Run: OMP_NUM_THREADS=1 python benchmarks/report_speed.py    # about a minute; --folder keeps what it wrote

The trials are made up: five techniques on a grid of width and examples, five seeds, their errors on a saturating law,
with every cost, every error and a curve that a real trial leaves. The command runs in a process of its own, as a
person starts it. Its files are compared from repeat to repeat: not a byte may differ.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from cluster.records import write_record
from experiments.results import TRIALS_FOLDER, save_sweep
from experiments.sweep import SweepSpec, parse_sweep

CURVE_POINTS = 8
# What a technique costs in training, saves in inference, and does to the error, as factors.
EFFECTS = {
    "baseline": (1.0, 1.0, 1.0), "distillation": (3.0, 1.0, 0.9), "magnitude-pruning": (1.2, 0.3, 1.02),
    "data-pruning": (0.5, 1.0, 1.08), "low-precision": (0.7, 0.8, 1.01),
}  # fmt: skip


def sweep_of(n_seeds: int) -> SweepSpec:
    """A sweep of 200 cells."""
    return parse_sweep({
        "name": "thousand", "dataset": "digits", "family": "mlp",
        "grid": {
            "width": [4, 8, 16, 32, 64], "depth": [1], "seed": list(range(n_seeds)),
            "n_train": [32, 64, 100, 160, 250, 400, 640, 1000],
            "technique": [
                "baseline", {"distillation": {"teacher_width": 64}}, {"magnitude-pruning": {"density": 0.3}},
                {"data-pruning": {"keep": 0.5}}, "low-precision",
            ],
        },
        "training": {"epochs": 4},
    })  # fmt: skip


def made_up(trial: Any, sweep: str, draw: np.random.Generator) -> dict[str, Any]:
    """The record of a trial that nobody trained."""
    dearer, lighter, better = EFFECTS[trial.technique]
    n_params = 74 * trial.width + trial.width**2
    flops = 24.0 * n_params * trial.n_train * dearer
    error = (0.08 + 3.0 * n_params**-0.5 + 2.0 * trial.n_train**-0.6) * better * draw.lognormal(0, 0.05)
    rate = 2e9 * n_params / (n_params + 4000) * draw.lognormal(0, 0.1)
    row = {
        "trial_id": trial.trial_id, "cell": trial.cell, "sweep": sweep, "dataset": "digits", "family": "mlp",
        "technique": trial.technique, "seed": trial.seed, "status": "finished", "width": trial.width, "depth": 1,
        "n_train": trial.n_train, "epochs": 4.0, "n_test": 500, "n_params": round(n_params * lighter),
        "model_bytes": 4 * round(n_params * lighter), "train_flops": flops, "train_flops_train": flops,
        "inference_flops": 2.0 * n_params * lighter, "inference_seconds": (1e-6 + n_params * lighter / 2e9),
        "inference_batch": 64, "wall_seconds": flops / rate, "peak_flops_per_second": 8e9, "devices": 1,
        "utilisation": rate / 8e9, "hardware_burden_flop": 8e9 * flops / rate,
        "energy_joules": 15 * flops / rate, "energy_source": "estimated", "device": "a processor",
        "peak_memory_bytes": 4e8 + 16.0 * n_params * (1 + trial.n_train),
        "test_error": min(0.9, error), "test_loss": 3 * min(0.9, error), "shift_error": min(0.9, 1.6 * error),
        "validation_error": min(0.9, error * draw.lognormal(0, 0.03)), **trial.technique_options,
    }  # fmt: skip
    shares = np.arange(1, CURVE_POINTS + 1) / CURVE_POINTS
    curve = [
        {"epoch": 4 * share, "step": place, "train_flops": flops * share,
         "validation_error": min(0.9, row["validation_error"] * share**-0.5)}
        for place, share in enumerate(shares)
    ]  # fmt: skip
    return {
        "record_version": 1, "trial_id": trial.trial_id, "sweep": sweep, "status": "finished", "reason": "",
        "spec": trial.model_dump(mode="json"), "row": row, "curve": curve, "phases": [],
        "environment": {"versions": {"python": "3"}}, "started_at": "2026-01-02T03:04:05+00:00",
        "ended_at": "2026-01-02T03:04:15+00:00",
    }  # fmt: skip


def make_results(folder: Path, n_seeds: int) -> int:
    """Leave a folder as a sweep does; return how many trials it holds."""
    sweep, draw = sweep_of(n_seeds), np.random.default_rng(0)
    save_sweep(sweep, folder)
    trials = list(sweep.trials())
    for trial in trials:
        write_record(folder / TRIALS_FOLDER, made_up(trial, "thousand", draw))
    return len(trials)


def written(folder: Path) -> dict[str, str]:
    """The digest of every file that a report consists of."""
    files = [folder / "report.html", folder / "fits.json", *sorted((folder / "figures").iterdir())]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor time of a command [s]."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, spent


def main() -> None:
    """Time the report and print a row per repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of each of 200 cells")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="results folder to make and keep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "thousand"
        n_trials = make_results(folder, arguments.seeds)
        print("| trials | wall [s] | processor [s] | figures | page [MiB] |\n|---|---|---|---|---|")
        first: dict[str, str] = {}
        for _ in range(arguments.repeats):
            wall, spent = timed([sys.executable, "-m", "experiments.cli", "report", str(folder)])
            n_figures = len(list((folder / "figures").glob("*.svg")))
            size = (folder / "report.html").stat().st_size / 2**20
            print(f"| {n_trials} | {wall:.1f} | {spent:.1f} | {n_figures} | {size:.1f} |", flush=True)
            now = written(folder)
            first = first or now
            if changed := [name for name, digest in now.items() if first[name] != digest]:
                raise SystemExit(f"other bytes than the first time: {', '.join(changed)}")


if __name__ == "__main__":
    main()
