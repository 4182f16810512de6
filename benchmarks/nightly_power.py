"""What a night can see: power against false alarms, from the seed noise that trials really have.

Run: OMP_NUM_THREADS=1 python benchmarks/nightly_power.py --nights RESULTS_A RESULTS_B [--draws 4000]

RESULTS_A and RESULTS_B are results folders of the same sweep whose code differs in nothing but the order of sums
(another number of threads, another library's version): what their losses differ by, trial by trial, is the noise that
no seed takes away. Without RESULTS_B it is that of learning rates that are off by a millionth, run here.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.results import read_results
from scaling.guard import NightSetting, judge_night, pair_trials
from scaling.guard.pairs import BASE, TONIGHT, SeedGrid
from scaling.guard.ratio import frontier_slopes

LOSSES = (0.0, 0.03, 0.05, 0.10, 0.15, 0.25)
SEEDS = (4, 6, 8, 12, 24)
NO_CLOCK = dict.fromkeys(("wall_seconds", "inference_seconds", "energy_joules"), "not simulated")


def perturbed(results: Path) -> pd.DataFrame:
    """The trials of a night again, with rates off by a millionth: the same learning, other rounding."""
    from experiments.results import SWEEP_FILE
    from experiments.sweep import parse_sweep
    from experiments.trial import run_trial
    from experiments.workbench import Machine

    trials = parse_sweep(json.loads((results / SWEEP_FILE).read_text(encoding="utf-8"))).trials()
    changed = [one.model_copy(update={"learning_rate": one.learning_rate * (1 + 1e-6)}) for one in trials]
    return pd.DataFrame([run_trial(one, Machine(device="cpu"))["row"] for one in changed])


def noise_of(pairs: pd.DataFrame, error: str) -> tuple[np.ndarray, float]:
    """Differences of log error, (seeds, cells), and the slope of the frontier."""
    grid = SeedGrid(pairs)
    tiny = 1e-3 if error == "test_error" else 0.0
    base, tonight = (np.log(grid.column(error + side) + tiny) for side in (BASE, TONIGHT))
    slopes, _ = frontier_slopes(np.log(grid.column("train_flops" + BASE)), base)
    return tonight - base, float(slopes.mean())


def simulate(base: pd.DataFrame, pairs: pd.DataFrame, n_seeds: int, loss: float, draws: int, seed: int) -> float:
    """Share of nights that fail when compute is worth so much less: seeds and their noise drawn anew each time."""
    generator = np.random.default_rng(seed)
    changes = {error: noise_of(pairs, error) for error in ("test_loss", "test_error")}
    by_seed = dict(iter(base.groupby("seed")))
    names = list(by_seed)
    failed = 0
    for _ in range(draws):
        drawn = generator.integers(0, len(names), n_seeds)
        sides = [by_seed[names[place]].assign(seed=number) for number, place in enumerate(drawn)]
        kept = pd.concat(sides, ignore_index=True)
        tonight = kept.copy()
        noise_seed = generator.integers(0, len(names), n_seeds)
        sign = generator.choice([-1.0, 1.0], n_seeds)
        for error, (difference, alpha) in changes.items():
            noise = (sign[:, None] * difference[noise_seed]).ravel()
            tonight[error] = np.minimum(tonight[error] * np.exp(noise - alpha * math.log1p(-loss)), 1e9)
        failed += bool(judge_night(pair_trials(kept, tonight), NightSetting(), not_known=NO_CLOCK).regressions)
    return failed / draws


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=Path, nargs="+", required=True, help="one or two results folders")
    parser.add_argument("--draws", type=int, default=4000)
    options = parser.parse_args()
    base = read_results(options.nights[0])[0].sort_values(["seed", "width", "n_train"], ignore_index=True)
    other = read_results(options.nights[1])[0] if len(options.nights) > 1 else perturbed(options.nights[0])
    pairs = pair_trials(base, other).table
    for error in ("test_loss", "test_error"):
        difference, alpha = noise_of(pairs, error)
        spread = difference.mean(axis=1).std(ddof=1)
        print(f"{error}: slope {alpha:.3f}, spread of a seed's mean log difference {spread:.4f}")
    print("| seeds | trials | " + " | ".join(f"{loss:.0%} less for a FLOP" for loss in LOSSES) + " |")
    print("|" + "---|" * (len(LOSSES) + 2))
    n_cells = pairs.groupby(["width", "n_train"]).ngroups
    for n_seeds in SEEDS:
        shares = [simulate(base, pairs, n_seeds, loss, options.draws, 1) for loss in LOSSES]
        print(
            f"| {n_seeds} | {n_seeds * n_cells} | " + " | ".join(f"{share:.1%}" for share in shares) + " |", flush=True
        )


if __name__ == "__main__":
    main()
