"""What a night can see: power against false alarms, from the seed noise that its trials really have.

Run: OMP_NUM_THREADS=1 python benchmarks/nightly_power.py --out FOLDER

The sweep's cells are trained for many seeds, twice: as they are, and with learning rates off by a millionth, which is
the same learning with other rounding. What their losses differ by, trial by trial, is the noise that the same seeds on
both sides leave. Both tables are kept in FOLDER and read from there the next time. With --threads the second arm is the
same trials with two threads of torch instead, another way to turn the rounding.

No clock is read here, so that a busy machine does not matter: FLOP and losses do not depend on it.
"""

from __future__ import annotations

import argparse
import functools
import math
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.nightly_command import SHIPPED_SWEEP
from experiments.spec import TrialSpec
from experiments.sweep import load_sweep
from scaling.guard import SeedNoise, Share, failing_nights, measure_seed_noise, pair_trials

LOSSES = (0.0, 0.03, 0.05, 0.10, 0.15, 0.25)
SEEDS = (4, 6, 8, 12, 24, 48)
PERTURBATION = 1e-6
CLOCKS = 3
# Start-up of Ray and MLflow, the kernel before and after, the audit and the fit; and what a trial costs beside its own
# clock. Assumed, see docs/nightly.md.
START_SECONDS, BETWEEN_SECONDS = 45.0, 0.1
WANTED_LOSS, WANTED_POWER = 0.15, 0.80


def run_row(spec: TrialSpec, *, threads: int) -> dict[str, Any]:
    """One trial's row of the runs table."""
    from experiments.machine import Machine
    from experiments.trial import run_trial

    return run_trial(spec, Machine(device="cpu", threads=threads))["row"]


def measure(specs: list[TrialSpec], path: Path, *, threads: int = 1) -> pd.DataFrame:
    """Run trials side by side and keep their rows, or read those kept before."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
            rows = pool.map(functools.partial(run_row, threads=threads), specs, chunksize=8)
        pd.DataFrame(rows).to_csv(path, index=False)
    return pd.read_csv(path)


def nights_of(sweep: Path, n_seeds: int, folder: Path, *, threads: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of a sweep for many seeds, in two nights of the same code."""
    cells = {one.cell: one for one in load_sweep(sweep).trials()}.values()
    specs = [cell.model_copy(update={"seed": seed}) for seed in range(n_seeds) for cell in cells]
    off = [one.model_copy(update={"learning_rate": one.learning_rate * (1 + PERTURBATION)}) for one in specs]
    plain = measure(specs, folder / "plain.csv")
    if threads:
        return plain, measure(specs, folder / "threads.csv", threads=2)
    return plain, measure(off, folder / "perturbed.csv")


def seeds_within(minutes: float, seconds_per_seed: float, n_cells: int) -> int:
    """How many seeds a night of so many minutes holds on two cores."""
    each = (seconds_per_seed + BETWEEN_SECONDS * n_cells) / 2
    return math.floor((60 * minutes - START_SECONDS) / each)


def words(share: Share) -> str:
    """A share with its interval."""
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def table(noise: SeedNoise, seeds: list[int], n_cells: int, draws: int, **setting: Any) -> None:
    """Print shares of failing nights, a line per number of seeds."""
    print("| seeds | trials | " + " | ".join(f"{loss:.0%}" for loss in LOSSES) + " |")
    print("|" + "---|" * (len(LOSSES) + 2))
    for n_seeds in seeds:
        shares = [failing_nights(noise, n_seeds=n_seeds, loss=loss, draws=draws, **setting) for loss in LOSSES]
        shown = [words(shares[0]), *(f"{share.value:.1%}" for share in shares[1:])]
        print(f"| {n_seeds} | {n_seeds * n_cells} | " + " | ".join(shown) + " |", flush=True)


def main() -> None:
    """Print the noise and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweep", type=Path, default=SHIPPED_SWEEP)
    parser.add_argument("--out", type=Path, required=True, help="folder for the measured rows")
    parser.add_argument("--seeds", type=int, default=240, help="seeds that are measured")
    parser.add_argument("--draws", type=int, default=4000, help="simulated nights behind each share")
    parser.add_argument("--threads", action="store_true", help="the second arm runs with two threads")
    options = parser.parse_args()
    plain, other = nights_of(options.sweep, options.seeds, options.out, threads=options.threads)
    other = other.drop(columns="learning_rate").assign(trial_id=plain["trial_id"])
    noise = measure_seed_noise(pair_trials(plain, other))
    n_cells = noise.log_cost.shape[1]
    print(f"{noise.n_seeds} seeds of {n_cells} cells")
    for error, alpha in noise.slopes.items():
        print(
            f"{error}: alpha {alpha:.3f}; a seed's log gain differs by {noise.spread(error):.4f} between two nights of "
            f"the same seeds, by {noise.seed_spread(error):.4f} between nights of different ones"
        )
    seconds_per_seed = float(plain.groupby("seed")["wall_seconds"].sum().median())
    budgets = {minutes: seeds_within(minutes, seconds_per_seed, n_cells) for minutes in (10, 30)}
    for minutes, n_seeds in budgets.items():
        print(f"{minutes} minutes on two cores hold {n_seeds} seeds ({seconds_per_seed:.2f} s of trials each)")
    seeds = [*SEEDS, *budgets.values()]
    print("\nThe same seeds on both sides, no clock to judge:\n")
    table(noise, seeds, n_cells, options.draws)
    print(f"\nThe same seeds, {CLOCKS} clocks share the false alarms (one device class):\n")
    table(noise, seeds, n_cells, options.draws, n_clocks=CLOCKS)
    print("\nOther seeds on the two sides, as after a change of the random stream:\n")
    table(noise, seeds, n_cells, options.draws, same_seeds=False)
    print(f"\nSmallest loss seen in {WANTED_POWER:.0%} of nights, in steps of 1%:")
    for n_seeds in seeds:
        print(f"{n_seeds} seeds: {smallest_loss(noise, n_seeds, options.draws):.0%}", flush=True)


def smallest_loss(noise: SeedNoise, n_seeds: int, draws: int) -> float:
    """The least loss, in steps of a hundredth, that the wanted share of nights sees; 1 if none."""
    for hundredths in range(1, 100):
        loss = hundredths / 100
        if failing_nights(noise, n_seeds=n_seeds, loss=loss, draws=draws // 4).value >= WANTED_POWER:
            return loss
    return 1.0


if __name__ == "__main__":
    main()
