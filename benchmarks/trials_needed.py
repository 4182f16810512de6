"""Does the promised number of further trials tell, as often as promised?

For every synthetic sweep from which a gain cannot be told: add the seeds that the comparison asks for, drawn from a
truth in which the estimate holds, compare anew, and count how often the interval then excludes a gain of 1.

Usage: python benchmarks/trials_needed.py [--draws 500] [--gain 1.08] [--cell-noise 0] [--resamples 300]
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.compare import Arms, Gain, Setting, Verdict, draw_arms
from scaling.compare.gain import measure_gain


def measure(runs: pd.DataFrame, n_resamples: int, seed: int) -> Gain:
    """The comparison of both arms over training compute."""
    return measure_gain(runs, "baseline", "technique", "train_flops", Setting(n_resamples=n_resamples, seed=seed))


def further_runs(arms: Arms, found: Gain, n_seeds: int, seed: int) -> pd.DataFrame:
    """So many seeds more of the cells on either frontier, under a truth in which the estimate holds."""
    assert found.gain is not None
    assert found.pair is not None
    held = replace(arms, gain=found.gain.value, n_seeds=n_seeds)
    more = draw_arms(held, seed=np.random.default_rng([seed, 1]))
    on_frontiers = {name.rsplit("-s", 1)[0] for name in found.pair.points.trial_ids}
    more = more[more["cell"].isin(on_frontiers)]
    return more.assign(trial_id="more-" + more["trial_id"], seed=more["seed"] + arms.n_seeds)


def main() -> None:
    """Print how often the trials asked for told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--gain", type=float, default=1.08)
    parser.add_argument("--cell-noise", type=float, default=0.0, help="scatter of cells that no seed takes away")
    parser.add_argument("--resamples", type=int, default=300)
    given = parser.parse_args()
    began = time.perf_counter()
    truth = Arms(gain=given.gain, cell_noise=given.cell_noise)
    told, wrong, asked, ratios, n_open, n_beyond = 0, 0, [], [], 0, 0
    for seed in range(given.draws):
        runs = draw_arms(truth, seed=seed)
        found = measure(runs, given.resamples, seed)
        if found.verdict is not Verdict.CANNOT_TELL or found.gain is None or found.needed is None:
            continue
        n_open += 1
        needed = found.needed
        if needed.n_trials is None or needed.n_seeds is None:
            n_beyond += 1
            continue
        more = further_runs(truth, found, needed.n_seeds, seed)
        assert len(more) == needed.n_trials
        again = measure(pd.concat([runs, more], ignore_index=True), given.resamples, seed)
        assert again.gain is not None
        told += 1.0 not in again.gain
        wrong += 1.0 not in again.gain and (again.gain.value > 1) != (found.gain.value > 1)
        asked.append(needed.n_trials)
        ratios.append(math.log(again.gain.high / again.gain.low) / math.log(found.gain.high / found.gain.low))
    print(f"gain {given.gain:g}: {n_open} of {given.draws} draws cannot tell, {n_beyond} of them with no such number")
    print(f"trials asked for: median {np.median(asked):.0f}, 10% to 90% {np.percentile(asked, [10, 90]).round()}")
    chance = 196 * math.sqrt(0.25 / len(asked))
    print(f"then {100 * told / len(asked):.1f}% of {len(asked)} tell (chance alone +-{chance:.0f}), {wrong} wrongly")
    print(f"width of the interval, after over before: median {np.median(ratios):.2f}")
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
